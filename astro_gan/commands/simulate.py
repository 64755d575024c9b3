"""`astro-gan simulate`: star fields as a telescope takes them, with their truth."""

from __future__ import annotations

import argparse
from pathlib import Path

from astro_gan.commands import expanded

_PSFS = ('gaussian', 'moffat', 'telescope', 'jwst')


def add_to(commands: argparse._SubParsersAction) -> None:
    """Adds `simulate`."""
    parser = commands.add_parser(
        'simulate',
        help='star fields as FITS frames, with their truth and a catalogue',
        description='Simulate star fields: NAME.fits, NAME_truth.fits (the same sky through a narrower PSF, without '
        'noise, on a finer grid) and NAME_stars.csv (x, y from 0, flux, sigma). The same seed gives the same files.',
    )
    add = parser.add_argument
    add('-o', '--output', type=expanded, required=True, metavar='DIR', help='folder to write into')
    add('--count', type=int, default=1, help='fields (default 1)')
    add('--seed', type=int, default=0)
    add('--size', type=int, default=256, help='pixels on a side (default 256)')
    add('--factor', type=int, default=2, choices=(1, 2), help='of the truth (default 2)')
    add('--stars', type=int, default=300, help='default 300')
    add('--galaxies', type=int, default=0)
    add('--faintest', type=float, default=3.0, help='sigma of the faintest star (default 3)')
    add('--brightest', type=float, default=1e4, help='sigma of the brightest (default 10000)')
    add('--slope', type=float, default=1.8, help='of the power law of fluxes (default 1.8)')
    add('--nebula', type=float, default=0.0, help='mean light of nebulosity, in units of the noise')
    add('--psf', default='moffat', help=f'{", ".join(_PSFS)}, or a FITS image of one (default moffat)')
    add('--sampling', type=float, default=4.0, help='of that image: its pixels per pixel of the frame (default 4)')
    add('--fwhm', type=float, default=2.5, help='of the light, in pixels, before pixels integrate it (default 2.5)')
    add('--correlation', type=float, default=0.0, help='of the noise of neighbouring pixels, 0 to 0.7')
    add('--grain', type=float, default=0.0, help="width of a plate's grain in pixels, a standard deviation")
    add('--gain', type=float, default=100.0, help='light, in noise units, whose Poisson noise is 1 (default 100)')
    add('--saturation', type=float, default=float('inf'), help='level, in noise units (default none)')
    add('--cosmic-rays', type=int, default=0, help='tracks, and as many hot pixels')
    add('--dead-columns', type=int, default=0, help='filled with NaN')
    add('--sky', type=float, default=0.0, help='level of the sky in the files (default 0)')
    add('--noise', type=float, default=1.0, help='noise of one pixel in the files (default 1)')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the fields."""
    import dataclasses

    from astro_gan.errors import UserError
    from astro_gan.files import atomic
    from astro_gan.simulation.fields import FWHM, OVERSAMPLING, batch_key
    from astro_gan.simulation.files import GRID, PSFS, Sky, star_field, write_field

    assert PSFS == _PSFS
    given = vars(arguments)
    sky = Sky(**{field.name: given[field.name] for field in dataclasses.fields(Sky)})
    limits: dict[str, float] = {
        'count': 1,
        'size': GRID // OVERSAMPLING,
        'stars': 0,
        'galaxies': 0,
        'cosmic_rays': 0,
        'dead_columns': 0,
    }
    limits |= {'faintest': 1e-3, 'nebula': 0, 'noise': 1e-30, 'gain': 1e-3}
    for name, least in limits.items():
        if not given[name] >= least:
            raise UserError(f'--{name.replace("_", "-")} {given[name]}: must be at least {least:g}')
    if not sky.brightest > sky.faintest:
        raise UserError(f'--brightest {sky.brightest:g}: must be above --faintest {sky.faintest:g}')
    if not 0.75 <= sky.fwhm <= FWHM[1]:
        raise UserError(f'--fwhm {sky.fwhm:g}: must be from 0.75 to {FWHM[1]:g} pixels')
    if not 0 <= sky.correlation <= 0.7:
        raise UserError(f'--correlation {sky.correlation:g}: must be from 0 to 0.7')
    if not 0 <= sky.grain <= 5:
        raise UserError(f'--grain {sky.grain:g}: must be from 0 to 5 pixels')
    if sky.psf not in PSFS and not Path(sky.psf).is_file():
        raise UserError(f'--psf {sky.psf}: none of {", ".join(PSFS)}, and no file')
    if sky.slope == 1:
        raise UserError('--slope 1: must not be 1; 1.01 is nearly the same')
    if sky.dead_columns > sky.size:
        raise UserError(f'--dead-columns {sky.dead_columns}: a field has {sky.size}')
    folder = Path(arguments.output)
    folder.mkdir(parents=True, exist_ok=True)
    atomic.remove_stale(folder)
    for index in range(arguments.count):
        field = star_field(batch_key(arguments.seed, index), sky)
        name = f'field_{index:03d}'
        write_field(field, sky, folder, name, level=arguments.sky, noise=arguments.noise, seed=arguments.seed)
        print(f'{folder / name}.fits: {sky.stars} stars, FWHM {float(field["fwhm"]):.2f} px')
    return 0
