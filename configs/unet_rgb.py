"""The report's Basic U-Net in RGB with the residual VGG-16 discriminator (Kalvankar et al. 2021, arXiv 2112.13865).

python main.py --config=configs/unet_rgb.py          # embedded data, a laptop's CPU
python main.py --config=configs/unet_rgb.py:smoke    # seconds, for tests
python main.py --config=configs/unet_rgb.py:paper --config.dataset.folder=DIR   # the report's schedule

The default's time has not been measured (`resnet18_unet_lab.py` takes 7.5 minutes on two cores). In the study
(docs/study: short trainings on 243 Hubble pictures, measured on 23 others) the supervised stage reaches L1 0.0392 and
LPIPS 0.167, the adversarial 0.0397 and 0.165; gray has 0.0380 and 0.214. `:paper` has not been run.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = 'default') -> ConfigDict:
    common.check(variant)
    config = common.colorization()
    config.name = 'unet_rgb'

    config.generator.name = 'unet'
    config.generator.space = 'rgb'  # rgb: gray in, RGB out; lab: L* in, a*b* out
    config.generator.features = 32  # pix2pix: 64
    config.generator.depth = 6  # halvings: 64 px down to 1
    config.generator.dropout = 0.5  # in the first three layers of the decoder

    config.discriminator.name = 'residual_vgg16'
    config.discriminator.features = 16  # channels of the first block; VGG-16: 64
    config.discriminator.hidden = 128  # units of the dense layer
    config.discriminator.norm = 'batch'  # batch, spectral or none

    config.supervised.steps = 600
    config.supervised.learning_rate = 5e-4

    config.adversarial.steps = 120

    if variant == 'smoke':
        config = common.smoke(config)
        config.discriminator.hidden = 8
    if variant == 'paper':
        config = common.report(config)
        config.generator.features = 64
        config.discriminator.features = 64
        config.discriminator.hidden = 512
        # As pix2pix: adversarial from the start.
    return config
