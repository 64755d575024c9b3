"""pix2pix's discriminator (Isola et al. 2017, arXiv 1611.07004) beside the report's Basic U-Net, in RGB, at 256 px.

    python main.py --config=configs/pix2pix.py          # embedded data, a laptop's CPU
    python main.py --config=configs/pix2pix.py:smoke    # seconds, for tests
    python main.py --config=configs/pix2pix.py:paper --config.dataset.folder=DIR   # the paper's 200 epochs, batch 1

The PatchGAN judges 30 x 30 patches of 70 x 70 pixels each of gray and colours. The default's time has not been
measured; `:paper` has not been run.
"""

from ml_collections import ConfigDict

from configs import common, unet_rgb


def get_config(variant: str = 'default') -> ConfigDict:
    config = unet_rgb.get_config(variant)
    config.name = 'pix2pix'
    config.generator.depth = 8  # 256 px down to 1
    config.dataset.crop_size = 256
    config.dataset.eval_tile = 256
    config.dataset.reduction = 1

    config.discriminator = ConfigDict()
    config.discriminator.name = 'patch'
    config.discriminator.features = 32  # channels of the first convolution; the paper: 64
    config.discriminator.halvings = 3  # patches of 70 x 70 pixels
    config.discriminator.norm = 'batch'  # batch, spectral or none

    config.supervised.batch_size = config.adversarial.batch_size = 4
    if variant == 'smoke':
        config = common.smoke(config)
        config.generator.depth = 6
    if variant == 'paper':
        config.discriminator.features = 64
        config.adversarial.epochs = 200  # section 6.2; the learning rate stays, where theirs falls in the second half
        config.adversarial.batch_size = 1
    return config
