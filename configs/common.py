"""Settings that the systems of a task share; each config of this folder starts from them.

Values only. Every setting can be changed from the command line: `--config.supervised.steps=5000`.
"""

from ml_collections import ConfigDict


def _task(name: str) -> ConfigDict:
    """What both tasks have."""
    config = ConfigDict()
    config.task = name
    config.name = ''  # names the default workdir, runs/<name>, and what is exported
    config.seed = 0  # all randomness derives from it
    # An exported model (its generator), or the workdir of another run (its generator, and a discriminator that has been
    # trained): start from those weights.
    config.init_from = ''

    config.dataset = ConfigDict()
    config.dataset.name = 'hubble_deep_field'  # any TFDS data set of images, or one that `astro-gan dataset build` made
    config.dataset.folder = ''  # a folder of pictures, in place of `name`
    config.dataset.data_dir = ''  # where TFDS keeps its data; empty: TFDS's own place
    config.dataset.crop_size = 0  # pixels of a training crop, as it is cut from the picture
    config.dataset.eval_tile = 0  # pixels of an evaluation tile, as it is cut from the picture
    config.dataset.eval_tiles_per_image = 16  # at most so many tiles of one image are evaluated
    config.dataset.eval_batch_size = 4
    config.dataset.cache_mib = 2048  # decoded images up to this size stay in memory, larger sets stream from disk

    config.precision = 'float32'  # or bfloat16: of the networks' arithmetic; parameters stay float32
    config.gradient_clip = 0.0  # largest global norm of a gradient; 0: no clipping
    config.log_every = 20  # steps between scalars for TensorBoard
    config.patience = 10  # evaluations without a better score that end a stage; 0: every stage has all its steps
    config.max_skipped = 5  # non-finite steps in a row that bring the last checkpoint's weights back
    config.max_rollbacks = 3  # roll-backs in a row (no clean evaluation between); one more ends the training
    config.sample_rows = 4  # rows of the sample pictures

    config.generator = ConfigDict()  # `name` and the fields of astro_gan.models.GENERATORS[name]

    config.discriminator = ConfigDict()  # `name` and the fields of astro_gan.models.DISCRIMINATORS[name]

    config.content = ConfigDict()  # the perceptual loss, weighted by each stage's feature_weight
    config.content.network = 'vgg16'  # vgg16 to conv3_3 comes with the package; vgg19 wants vgg_file
    config.content.layer = 'conv3_3'  # features are taken after the activation
    config.content.scale = 1.0  # the features are multiplied by it
    config.content.vgg_file = ''  # safetensors with torchvision's names, in place of the hub

    config.supervised = _stage()

    config.adversarial = _stage()
    config.adversarial.loss = 'minimax'  # minimax, wasserstein, least_squares, hinge or relativistic
    config.adversarial.real_label = 1.0  # one-sided label smoothing: 0.9; wasserstein and hinge have no labels
    config.adversarial.critic_steps = 1  # discriminator updates per generator update (Wasserstein: 5)
    config.adversarial.gradient_penalty = 0.0  # weight of the penalty (Wasserstein: 10)
    config.adversarial.adversarial_weight = 1.0
    config.adversarial.discriminator_learning_rate = 2e-4
    return config


def super_resolution() -> ConfigDict:
    """The embedded data, sized for a laptop's CPU."""
    config = _task('super_resolution')
    config.factor = 4  # enlargement: 2, 3, 4, 6, 8 or 12
    config.dataset.crop_size = 96
    config.dataset.eval_tile = 192

    config.discriminator.name = 'srgan'
    config.discriminator.features = 32  # channels of the first convolution
    config.discriminator.hidden = 256  # units of the dense layer
    config.discriminator.norm = 'batch'  # batch, spectral or none
    config.discriminator.global_pool = True  # any crop size; False: the paper's flattening

    for stage in (config.supervised, config.adversarial):
        stage.grid_weight = 0.0  # of the loss on a grid with the period of the enlargement; crops from 6 periods up

    config.adversarial.eval_every = 50
    config.adversarial.ema_decay = 0.98  # the stage is short
    config.adversarial.adversarial_weight = 5e-3
    config.adversarial.feature_weight = 0.006  # more wins LPIPS, and a faint grid in the dark sky
    config.adversarial.batch_size = 4
    config.adversarial.learning_rate = 2e-4
    config.adversarial.discriminator_learning_rate = 1e-4
    config.adversarial.best_metric = 'lpips'
    return config


def colorization() -> ConfigDict:
    """The embedded data, sized for a laptop's CPU; 64 x 64 pixels in, as in the report."""
    config = _task('colorization')
    config.dataset.reduction = 2  # crops and tiles are made so many times smaller first: a wider view
    config.dataset.crop_size = 128
    config.dataset.eval_tile = 192

    config.weights = ConfigDict()  # ImageNet's, to start from: packaged, hub, none, or a safetensors file
    config.weights.generator = 'none'
    config.weights.discriminator = 'none'

    config.chroma = ConfigDict()  # the chroma loss, weighted by each stage's chroma_weight
    config.chroma.boost = 1.0  # gray pixels of the truth count 1 + boost times as much as saturated ones
    config.chroma.scale = 10.0  # C* (CIE units) at which the boost has fallen to 1/e

    for stage in (config.supervised, config.adversarial):
        stage.chroma_weight = 0.0
    # lambda of pix2pix and of the report; in RGB it counts half of theirs, as pixels are in [0, 1] and not [-1, 1].
    config.adversarial.pixel_weight = 100.0
    config.adversarial.learning_rate = 2e-4  # the report's Adam
    config.adversarial.decay = 'constant'
    config.adversarial.beta1 = 0.5
    config.supervised.eval_every = 100
    config.adversarial.eval_every = 30
    config.adversarial.ema_decay = 0.98  # the stage is short
    return config


def frames() -> ConfigDict:
    """Simulated frames (astro_gan/simulation), which need no data; sized for a laptop's CPU."""
    config = _task('frames')
    config.factor = 2  # enlargement: 1 (clean and sharpen) or 2
    config.dataset.name = 'simulated'
    config.dataset.crop_size = 80  # pixels of the output
    config.dataset.eval_tile = 128  # pixels of the output
    config.dataset.eval_fields = 64  # simulated fields of the validation, and as many others of the test
    config.dataset.eval_batch_size = 8

    config.discriminator.name = 'srgan'
    config.discriminator.features = 32
    config.discriminator.hidden = 256
    config.discriminator.norm = 'spectral'
    config.discriminator.global_pool = True

    for stage in (config.supervised, config.adversarial):
        stage.pixel_loss = 'noise_units'
        stage.flux_weight = 0.25  # of the loss on the flux in windows
        stage.bias_weight = 0.0  # of the loss on fluxes that are off on average
        stage.batch_size = 6
    config.adversarial.adversarial_weight = 5e-3
    config.adversarial.learning_rate = 1e-4
    config.adversarial.discriminator_learning_rate = 1e-4
    config.adversarial.ema_decay = 0.98
    config.gradient_clip = 1.0
    return config


def _stage() -> ConfigDict:
    """What both stages have."""
    stage = ConfigDict()
    stage.steps = 0  # 0 (and no epochs) leaves the stage out
    stage.epochs = 0  # passes over the training pictures, each followed by an evaluation, in place of steps, eval_every
    stage.batch_size = 16  # over all devices
    stage.eval_every = 250  # steps between evaluations, each with a checkpoint
    stage.learning_rate = 1e-3
    stage.ema_decay = 0.999  # of the averaged generator weights, which are evaluated and exported
    stage.decay = 'cosine'  # constant, cosine (to 0 at the last step) or step
    stage.decay_every = 200_000  # `step`: steps between reductions
    stage.decay_rate = 0.5  # `step`: factor of a reduction
    stage.beta1 = 0.9  # Adam
    stage.beta2 = 0.999
    # l1, mse or charbonnier; of frames also noise_units. With generator.space 'classes' it is a cross entropy in which
    # rare colours count more (losses.class_entropy), 1 to 5 at first: pixel_weight 1 suits the adversarial stage.
    stage.pixel_loss = 'l1'
    stage.pixel_weight = 1.0
    stage.feature_weight = 0.0  # of the perceptual loss
    stage.best_metric = 'l1'  # names the best checkpoint; any of astro_gan.task's HIGHER_IS_BETTER, LOWER_IS_BETTER
    return stage


def smoke(config: ConfigDict) -> ConfigDict:
    """The same experiment in seconds: tiny networks, a few steps; for tests."""
    config.dataset.eval_tiles_per_image = 2
    config.dataset.eval_batch_size = 2
    config.discriminator.features = 4
    config.log_every = 2
    config.sample_rows = 2
    for stage in (config.supervised, config.adversarial):
        stage.steps = 6
        stage.batch_size = 4
        stage.eval_every = 3
    if config.task == 'frames':
        config.dataset.crop_size = config.dataset.eval_tile = 48
        config.dataset.eval_fields = config.dataset.eval_batch_size = 4
        config.generator.features = 8
        config.generator.blocks = 2
        config.discriminator.hidden = 8
    if config.task == 'super_resolution':
        config.dataset.crop_size = 48
        config.dataset.eval_tile = 96
        config.generator.features = 8
        config.generator.blocks = 2
        config.discriminator.hidden = 8
    if config.task == 'colorization':
        config.dataset.reduction = 1
        config.dataset.crop_size = 64
        config.dataset.eval_tile = 64
        config.generator.features = 4
    return config


def report(config: ConfigDict) -> ConfigDict:
    """The schedule of the report (Kalvankar et al. 2021): pictures of 256 px made 64, batch 16, 100 epochs."""
    config.log_every = 100
    config.dataset.crop_size = 256
    config.dataset.eval_tile = 256
    config.dataset.reduction = 4
    config.supervised.steps = config.adversarial.steps = 0  # epochs are counted instead
    config.adversarial.epochs = 100
    config.adversarial.batch_size = 16
    config.adversarial.ema_decay = 0.999
    return config


def paper(config: ConfigDict) -> ConfigDict:
    """The full schedule of the SRGAN paper's adversarial stage and discriminator (section 3.2), for a real data set."""
    config.log_every = 100
    config.patience = 0  # the papers train to the last step
    config.supervised.eval_every = 10_000
    config.adversarial.eval_every = 10_000
    config.adversarial.ema_decay = 0.999
    config.discriminator.features = 64
    config.discriminator.hidden = 1024
    config.discriminator.global_pool = False
    config.content.network = 'vgg19'
    config.content.layer = 'conv5_4'
    config.content.scale = 1 / 12.75
    config.adversarial.steps = 200_000
    config.adversarial.batch_size = 16
    config.adversarial.learning_rate = 1e-4
    config.adversarial.discriminator_learning_rate = 1e-4
    config.adversarial.decay = 'step'
    config.adversarial.decay_every = 100_000
    config.adversarial.decay_rate = 0.1
    config.adversarial.feature_weight = 1.0
    config.adversarial.adversarial_weight = 1e-3
    return config


VARIANTS = ('default', 'smoke', 'paper')


def check(variant: str) -> None:
    """Raise ValueError unless the variant exists."""
    if variant not in VARIANTS:
        raise ValueError(f'unknown variant {variant!r}: one of {", ".join(VARIANTS)}')
