"""The commands of `astro-gan`. Each module here has one name that `astro_gan.cli` uses:

    add_to(commands)    adds its parsers, `commands.add_parser(...)`, each with `set_defaults(run=...)`

`run(arguments)` does the work and returns the exit status; a ValueError or OSError out of it is the user's mistake and
becomes one line. Nothing heavy (NumPy, JAX, TensorFlow, astropy) is imported before `run`: `--help` answers at once.
"""
