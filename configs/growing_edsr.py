"""Progressive growing (after Karras et al. 2018, arXiv 1710.10196): EDSR learns x2, then x4, then x8, in one run.

    python main.py --config=configs/growing_edsr.py          # embedded data, a laptop's CPU
    python main.py --config=configs/growing_edsr.py:smoke    # seconds, for tests
    python main.py --config=configs/growing_edsr.py:paper --config.dataset.folder=DIR   # a long schedule

New levels fade in (astro_gan/models/growing.py); the loss is that of the picture 8 times larger from the first step on.
What to compare it with is EDSR for x8: `configs/edsr.py --config.factor=8`. The default's time has not been measured;
`:paper`, whose schedule is ours, has not been run.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = 'default') -> ConfigDict:
    common.check(variant)
    config = common.super_resolution()
    config.name = 'growing_edsr'
    config.factor = 8
    config.patience = 0  # a level that is through learns little more, and the next one is still to come

    config.generator.name = 'growing_edsr'
    config.generator.features = 32
    config.generator.blocks = 4  # of each level
    config.generator.grow_steps = 400  # from the start of one level to that of the next, which fades in for half of it
    config.generator.back_projection = False  # True: keep the output consistent with the input

    config.supervised.steps = 1600
    config.supervised.learning_rate = 5e-4

    config.adversarial.steps = 200

    if variant == 'smoke':
        config = common.smoke(config)
        config.generator.blocks = 1
        config.generator.grow_steps = 2
    if variant == 'paper':
        config = common.paper(config)
        config.patience = 0
        config.dataset.crop_size = 384
        config.dataset.eval_tile = 384
        config.generator.features = 64
        config.generator.blocks = 8
        config.generator.grow_steps = 75_000
        config.supervised.steps = 300_000
        config.supervised.learning_rate = 1e-4
        config.supervised.decay = 'step'
    return config
