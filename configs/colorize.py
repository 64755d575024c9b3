"""The colorizer that ships: a ResNet-18 U-Net in L*a*b* that takes guides: palettes, hints, small pictures, bands.

    python main.py --config=configs/colorize.py          # embedded data, a laptop's CPU
    python main.py --config=configs/colorize.py:smoke    # seconds, for tests
    python main.py --config=configs/colorize.py:paper --config.dataset.folder=DIR   # press pictures, as what ships

The guides are read from the truth, a kind of its own for each example, none among them (astro_gan/guides.py).
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = 'default') -> ConfigDict:
    common.check(variant)
    config = common.colorization()
    config.name = 'colorize'

    config.dataset.reduction = 4  # of a whole crop: the largest reduction of an example
    config.dataset.least_reduction = 1.5  # of a part of it; log-uniform between the two
    config.dataset.working_reduction = 4  # at which a user's picture is coloured
    config.dataset.crop_size = 512
    config.dataset.eval_tile = 512

    config.generator.name = 'guided_unet'
    config.generator.space = 'lab'
    config.generator.features = 32  # channels of the decoder's last layers
    config.generator.stages = 3  # of the encoder, which is not trained; ResNet-18 has 4
    config.weights.generator = 'packaged'

    config.discriminator.name = 'patch'
    config.discriminator.features = 32  # channels of the first convolution
    config.discriminator.halvings = 1

    for stage in (config.supervised, config.adversarial):
        stage.pixel_weight = 10.0
        stage.colourfulness_weight = 6.0  # of the difference in colourfulness: L1 alone is pale where it is unsure
        stage.best_metric = 'l1_ab'
    config.supervised.steps = 600
    config.supervised.batch_size = 4
    config.supervised.learning_rate = 5e-4
    config.adversarial.steps = 0  # the guides leave little to guess

    if variant == 'smoke':
        config = common.smoke(config)
        config.dataset.least_reduction = 1.0
        config.generator.stages = 2
    if variant == 'paper':
        config.log_every = 100
        config.supervised.steps = 7_000
        config.supervised.eval_every = 500
        config.patience = 24
    config.task = 'guided'
    return config
