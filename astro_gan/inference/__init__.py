"""From a user's picture or FITS frame to a coloured, larger one: tiles, files, provenance. No TensorFlow."""
