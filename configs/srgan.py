"""SRGAN (Ledig et al. 2017, arXiv 1609.04802): SRResNet, then a perceptual and an adversarial loss.

    python main.py --config=configs/srgan.py          # embedded data, a laptop's CPU
    python main.py --config=configs/srgan.py:smoke    # seconds, for tests
    python main.py --config=configs/srgan.py:paper --config.dataset.folder=DIR   # the paper's schedule

The default's time has not been measured (`wdsr.py` takes 4 min 38 s on two cores). In the study (docs/study: short
trainings on 243 Hubble pictures, measured on 23 others) the supervised stage reaches PSNR Y 36.57 and LPIPS 0.257
(started from natural pictures), the adversarial 35.73 and 0.223; bicubic has 35.12 and 0.373. `:paper` has not been
run.

Fine-tuning is the same config with `--config.init_from=EXPORTED_MODEL` and another data set.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = 'default') -> ConfigDict:
    common.check(variant)
    config = common.super_resolution()
    config.name = 'srgan'

    config.generator.name = 'srresnet'
    config.generator.features = 32  # the paper: 64
    config.generator.blocks = 8  # the paper: 16
    config.generator.bicubic_start = True  # the fresh network is bicubic interpolation
    config.generator.norm_epsilon = 1e-5  # of batch normalisation; published Keras weights: 1e-3
    config.generator.tanh = False  # True: end with tanh, as the published Keras network does
    config.generator.back_projection = False  # True: keep the output consistent with the input

    config.supervised.steps = 1200
    config.supervised.learning_rate = 5e-4
    config.supervised.pixel_loss = 'mse'

    config.adversarial.steps = 200

    if variant == 'smoke':
        config = common.smoke(config)
    if variant == 'paper':
        config = common.paper(config)
        config.generator.features = 64
        config.generator.blocks = 16
        config.generator.bicubic_start = False
        config.supervised.steps = 1_000_000  # section 3.2
        config.supervised.learning_rate = 1e-4
        config.supervised.decay = 'constant'
        config.adversarial.pixel_weight = 0.0  # VGG54 alone is the content loss
    return config
