"""WDSR-GAN (Yu et al. 2018, arXiv 1808.08718): wide activation and weight normalisation.

python main.py --config=configs/wdsr.py          # embedded data, a laptop's CPU
python main.py --config=configs/wdsr.py:smoke    # seconds, for tests
python main.py --config=configs/wdsr.py:paper --config.dataset.folder=DIR   # the papers' schedule

The default takes 4 min 38 s on two cores and reaches, on the embedded data's test area, PSNR Y
33.52 and LPIPS 0.163 (supervised), 32.74 and 0.118 (adversarial); bicubic has 29.17 and 0.436. `:paper` has not been
run.
"""

from ml_collections import ConfigDict, config_dict

from configs import common


def get_config(variant: str = 'default') -> ConfigDict:
    common.check(variant)
    config = common.super_resolution()
    config.name = 'wdsr'

    config.generator.name = 'wdsr'
    config.generator.variant = 'b'  # a: 3x3 expansion; b: 1x1 expansion and a low-rank layer
    config.generator.features = 32
    config.generator.blocks = 8
    config.generator.expansion = config_dict.placeholder(int)  # None: the paper's 4 for a, 6 for b
    config.generator.low_rank = 0.8  # b only
    config.generator.bicubic_start = True  # the fresh network is bicubic interpolation
    config.generator.back_projection = False  # True: keep the output consistent with the input

    config.supervised.steps = 2000
    config.supervised.learning_rate = 1e-3

    config.adversarial.steps = 200

    if variant == 'smoke':
        config = common.smoke(config)
    if variant == 'paper':
        config = common.paper(config)
        config.generator.blocks = 32
        config.generator.bicubic_start = False
        # The authors' released training: 16 patches of 96 px from DIV2K, Adam 1e-3 halved every 2e5 steps.
        config.supervised.steps = 600_000
        config.supervised.decay = 'step'
    return config
