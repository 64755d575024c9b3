"""Frames: what a telescope recorded, enlarged, sharpened and cleaned; WDSR-B on simulated fields in units of the noise.

python main.py --config=configs/frames.py          # needs no data; a laptop's CPU
python main.py --config=configs/frames.py:smoke    # seconds, for tests
python main.py --config=configs/frames.py:paper    # larger and longer, for a GPU
"""

from ml_collections import ConfigDict, config_dict

from configs import common


def get_config(variant: str = 'default') -> ConfigDict:
    common.check(variant)
    config = common.frames()
    config.name = 'frames'

    config.generator.name = 'frame_wdsr'
    config.generator.variant = 'b'  # a: 3x3 expansion; b: 1x1 expansion and a low-rank layer
    config.generator.features = 32
    config.generator.blocks = 8
    config.generator.expansion = config_dict.placeholder(int)  # None: the paper's 4 for a, 6 for b
    config.generator.low_rank = 0.8  # b only
    config.generator.bicubic_start = True  # the fresh network is bicubic interpolation
    config.generator.scales = (0.7, 1.4, 2.8)  # sigmas (pixels) of the filters through which it sees the frame as well

    config.supervised.steps = 10_000
    config.supervised.learning_rate = 1.5e-3
    config.supervised.eval_every = 1000

    config.adversarial.steps = 0

    if variant == 'smoke':
        config = common.smoke(config)
    if variant == 'paper':
        config.generator.blocks = 16
        config.generator.features = 64
        config.dataset.crop_size = 128
        config.supervised.batch_size = 32
        config.supervised.steps = 200_000
        config.supervised.eval_every = 5000
        config.adversarial.steps = 20_000
        config.log_every = 100
    return config
