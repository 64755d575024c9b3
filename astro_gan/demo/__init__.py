"""A local web page on which the models can be tried: `astro-gan demo`."""
