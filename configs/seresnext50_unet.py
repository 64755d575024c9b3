"""`resnet18_unet_lab.py` with an SE-ResNeXt-50 as its encoder (Hu et al. 2018, arXiv 1709.01507).

    python main.py --config=configs/seresnext50_unet.py          # embedded data, from random weights
    python main.py --config=configs/seresnext50_unet.py:smoke    # seconds, for tests
    python main.py --config=configs/seresnext50_unet.py:paper --config.dataset.folder=DIR \
        --config.weights.generator=FILE

ImageNet weights of this encoder do not come with the package; without them (`none`) it starts from random ones.
FILE is `model.safetensors` of timm's `seresnext50_32x4d.racm_in1k`; which revision of the hub is the right one is not
known here. The default's time has not been measured; `:paper` has not been run.
"""

from ml_collections import ConfigDict

from configs import resnet18_unet_lab


def get_config(variant: str = 'default') -> ConfigDict:
    config = resnet18_unet_lab.get_config(variant)
    config.name = 'seresnext50_unet'
    config.generator.name = 'seresnext50_unet'
    config.weights.generator = 'hub' if variant == 'paper' else 'none'
    if variant == 'smoke':
        config.generator.stages = 1
    return config
