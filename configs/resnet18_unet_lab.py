"""The report's best system: a ResNet-18 U-Net in L*a*b* with a ResNet-50 patch discriminator (arXiv 2112.13865).

    python main.py --config=configs/resnet18_unet_lab.py          # embedded data, a laptop's CPU
    python main.py --config=configs/resnet18_unet_lab.py:smoke    # seconds, for tests
    python main.py --config=configs/resnet18_unet_lab.py:paper --config.dataset.folder=DIR   # the report's schedule

The default takes 7.5 minutes on an idle machine with two cores and reaches, on the embedded data's test area, L1 0.0072
and LPIPS 0.027 (supervised and adversarial alike); gray has 0.0096 and 0.076. `:paper` has not been run.

Its three steps after ImageNet: supervised on natural images, adversarial on them, adversarial on astronomical ones.

    C=--config=configs/resnet18_unet_lab.py:paper
    D=--config.dataset.folder
    python main.py $C $D=NATURAL --workdir=runs/1 --config.adversarial.epochs=0
    python main.py $C $D=NATURAL --workdir=runs/2 --config.supervised.epochs=0 --config.init_from=runs/1
    python main.py $C $D=ASTRO --workdir=runs/3 --config.supervised.epochs=0 --config.init_from=runs/2
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = 'default') -> ConfigDict:
    common.check(variant)
    config = common.colorization()
    config.name = 'resnet18_unet_lab'

    config.generator.name = 'resnet18_unet'
    config.generator.space = 'lab'  # rgb: gray in, RGB out; lab: L* in, a*b* out; classes: bins of a*b* (see common)
    config.generator.features = 32  # channels of the decoder's last layers
    config.generator.stages = 3  # of the encoder, the last ones clipped; ResNet-18 has 4
    config.generator.dropout = 0.0
    config.weights.generator = 'packaged'

    config.discriminator.name = 'resnet50_patch'
    config.discriminator.features = 32  # channels of the layer after the clipped ResNet-50
    config.discriminator.halvings = 1  # 1 for inputs of 64 px, 3 for 256 px: both give 30 x 30 logits
    config.discriminator.norm = 'batch'  # batch, or frozen: ImageNet's statistics
    config.discriminator.stride_in_1x1 = True  # the v1 layout, as the packaged weights have it; hub: False
    config.weights.discriminator = 'packaged'

    config.supervised.steps = 600
    config.supervised.learning_rate = 5e-4

    config.adversarial.steps = 120

    if variant == 'smoke':
        config = common.smoke(config)
        config.generator.stages = 2
    if variant == 'paper':
        config = common.report(config)
        config.generator.stages = 4
        config.weights.generator = 'hub'
        config.discriminator.features = 64
        config.discriminator.stride_in_1x1 = False
        config.weights.discriminator = 'hub'
        config.supervised.epochs = 20
        config.supervised.learning_rate = 2e-4
        config.supervised.beta1 = 0.5
        config.supervised.decay = 'constant'
    return config
