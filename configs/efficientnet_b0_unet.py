"""`resnet18_unet_lab.py` with an EfficientNet-B0 as its encoder (Tan and Le 2019, arXiv 1905.11946).

    python main.py --config=configs/efficientnet_b0_unet.py          # embedded data, from random weights
    python main.py --config=configs/efficientnet_b0_unet.py:smoke    # seconds, for tests
    python main.py --config=configs/efficientnet_b0_unet.py:paper --config.dataset.folder=DIR

ImageNet weights of this encoder do not come with the package; without them (`none`) it starts from random ones.
They come from the Hugging Face hub (`hub`, a pinned revision), or FILE is `model.safetensors` of timm's
`efficientnet_b0.ra_in1k`: `--config.weights.generator=FILE`. The default's time has not been measured; `:paper` has not
been run.
"""

from ml_collections import ConfigDict

from configs import resnet18_unet_lab


def get_config(variant: str = 'default') -> ConfigDict:
    config = resnet18_unet_lab.get_config(variant)
    config.name = 'efficientnet_b0_unet'
    config.generator.name = 'efficientnet_b0_unet'
    config.weights.generator = 'hub' if variant == 'paper' else 'none'
    if variant == 'smoke':
        config.generator.stages = 1
    return config
