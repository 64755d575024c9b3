"""Frames of one sky brought together: one grid for all of them, co-added, or composed as the bands of a picture."""
