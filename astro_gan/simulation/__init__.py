"""Pictures of the sky as a telescope takes them, with their truth; in JAX, a batch from (seed, step).

`scenes` puts stars, galaxies and diffuse light on a fine grid, `psf` blurs it, `detector` adds what a detector adds,
`fields` draws all that at random and makes batches for training, `files` writes FITS frames with a catalogue.

The fine grid has `OVERSAMPLING` pixels per pixel of the input on a side and is a torus: what leaves at the right comes
in from the left. So a field needs no margin, however wide the PSF.
"""
