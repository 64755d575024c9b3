"""Downloads: the Hubble Legacy Archive and press images, with credit and licence, into a folder with a manifest."""
