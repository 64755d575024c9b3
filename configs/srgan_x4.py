"""The published SRGAN (Ledig et al. 2017, arXiv 1609.04802; DIV2K), fine-tuned on astronomical pictures.

    astro-gan import SRGAN -o runs/srgan_published   # weights of krasserm/super-resolution, docs/public_benchmarks.md
    python main.py --config=configs/srgan_x4.py --config.init_from=runs/srgan_published --config.dataset.folder=press
    python main.py --config=configs/srgan_x4.py:smoke    # seconds, for tests; from scratch

The network is the published one: 16 blocks of 64 channels, tanh, Keras's batch norm. Without `init_from` it starts from
scratch, which this short schedule is not for.
"""

from ml_collections import ConfigDict

from configs import common, srgan


def get_config(variant: str = 'default') -> ConfigDict:
    common.check(variant)
    config = srgan.get_config('default')
    config.name = 'srgan_x4'
    config.generator.features = 64
    config.generator.blocks = 16
    config.generator.bicubic_start = False
    config.generator.norm_epsilon = 1e-3
    config.generator.tanh = True

    config.supervised.steps = 0  # the published network has been trained
    config.adversarial.steps = 1000
    config.adversarial.eval_every = 100
    config.adversarial.learning_rate = 1e-4
    if variant == 'smoke':
        config = common.smoke(config)
        config.supervised.steps = 0
    if variant == 'paper':
        config.adversarial.steps = 20_000
        config.adversarial.eval_every = 1000
        config.adversarial.batch_size = 16
    return config
