"""The ResNet-18 U-Net in RGB: `resnet18_unet_lab.py` in another colour space (Kalvankar et al. 2021, arXiv 2112.13865).

python main.py --config=configs/resnet18_unet_rgb.py          # embedded data, a laptop's CPU
python main.py --config=configs/resnet18_unet_rgb.py:smoke    # seconds, for tests
python main.py --config=configs/resnet18_unet_rgb.py:paper --config.dataset.folder=DIR   # the report's schedule

The default's time has not been measured (`resnet18_unet_lab.py` takes 7.5 minutes on two cores). In the study
(docs/study: short trainings on 243 Hubble pictures, measured on 23 others) the supervised stage reaches L1 0.0376 and
LPIPS 0.191, the adversarial 0.0380 and 0.175; gray has 0.0380 and 0.214. `:paper` has not been run.
"""

from ml_collections import ConfigDict

from configs import resnet18_unet_lab


def get_config(variant: str = 'default') -> ConfigDict:
    config = resnet18_unet_lab.get_config(variant)
    config.name = 'resnet18_unet_rgb'
    config.generator.space = 'rgb'
    return config
