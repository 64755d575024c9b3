"""EDSR-GAN (Lim et al. 2017, arXiv 1707.02921): residual blocks without batch norm.

python main.py --config=configs/edsr.py          # embedded data, a laptop's CPU
python main.py --config=configs/edsr.py:smoke    # seconds, for tests
python main.py --config=configs/edsr.py:paper --config.dataset.folder=DIR   # the full 43M network

The default's time has not been measured (`wdsr.py` takes 4 min 38 s on two cores). In the study (docs/study: short
trainings on 243 Hubble pictures, measured on 23 others) the supervised stage reaches PSNR Y 36.43 and LPIPS 0.270,
the adversarial 35.87 and 0.218; bicubic has 35.12 and 0.373. `:paper` has not been run.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = 'default') -> ConfigDict:
    common.check(variant)
    config = common.super_resolution()
    config.name = 'edsr'

    config.generator.name = 'edsr'
    config.generator.features = 32  # the paper's baseline has 64, the full network 256
    config.generator.blocks = 8  # 16 and 32
    config.generator.residual_scale = 1.0  # 0.1 for the full network
    config.generator.bicubic_start = True  # the fresh network is bicubic interpolation
    config.generator.back_projection = False  # True: keep the output consistent with the input

    config.supervised.steps = 1200
    config.supervised.learning_rate = 5e-4

    config.adversarial.steps = 200

    if variant == 'smoke':
        config = common.smoke(config)
    if variant == 'paper':
        config = common.paper(config)
        config.dataset.crop_size = 192  # 48 px of input at x4 (section 4.1); other factors: 48 times the factor
        config.generator.features = 256
        config.generator.blocks = 32
        config.generator.residual_scale = 0.1  # section 3.2
        config.generator.bicubic_start = False
        config.supervised.steps = 300_000
        config.supervised.learning_rate = 1e-4  # halved every 2e5 steps (section 4.1)
        config.supervised.decay = 'step'
    return config
