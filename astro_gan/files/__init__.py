"""Bytes on disk: pictures, FITS frames and manifests in and out. Knows nothing of networks or training."""
