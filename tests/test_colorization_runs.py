"""Colorization as a user runs it: every config at :smoke, the report's three steps, any size, its errors."""

import json

import jax
import numpy as np
import pytest
from PIL import Image
from skimage import color

import astro_gan
from astro_gan.export import write_model
from astro_gan.export_forms import TOLERANCE
from astro_gan.state import create_state, state_shape
from astro_gan.tables import read_rows
from astro_gan.train import make_train_step, replicate
from configs import pix2pix, resnet18_unet_lab, resnet18_unet_rgb, unet_rgb, wdsr
from experiments import colorization, run
from experiments.batches import count_epochs
from experiments.initial import initial_state
from tests.runs import main_here, records

CONFIGS = {'unet_rgb': unet_rgb, 'resnet18_unet_rgb': resnet18_unet_rgb, 'resnet18_unet_lab': resnet18_unet_lab}


@pytest.fixture(scope='module', params=CONFIGS)
def trained(request, smoke_run):
    """(config name, workdir, standard output) of a :smoke run."""
    return smoke_run(request.param)


def test_a_run_ends_with_the_table_and_leaves_what_it_promises(trained):
    """Both stages are trained and compared with leaving it gray; the metrics of colour are in the CSV."""
    name, workdir, out = trained
    for system in ('gray', f'{name} supervised', f'{name} adversarial'):
        assert any(line.startswith(system) for line in out.splitlines())
    rows = read_rows(workdir / 'evaluations.csv')
    assert [row['stage'] for row in rows] == ['supervised'] * 2 + ['adversarial'] * 2
    wanted = {'l1_ab', 'l1_lab', 'l1_r', 'colourfulness', 'colourfulness_truth', 'frechet_alex', 'gray_outputs'}
    assert {f'eval/{key}' for key in wanted | {'report_mae_ab110_a', 'report_wrapped_l1_r'}} <= rows[0].keys()
    assert {'discriminator/loss', 'generator/adversarial', 'generator/pixel'} <= rows[-1].keys()
    gray = next(row for row in read_rows(workdir / 'test.csv') if row['system'] == 'gray')
    assert gray['colourfulness'] == pytest.approx(0, abs=1e-6)
    with Image.open(workdir / 'samples' / 'test.png') as image:
        assert image.size == (4 * 64 + 3 * 4, 2 * 64 + 4)  # gray, both stages, truth


def test_an_exported_colorizer_keeps_the_luminance(trained, hubble, tmp_path):
    """export, then load_model: gray of any size from 64 in, colour of that size out, with the L* of the input."""
    name, workdir, _ = trained
    config = CONFIGS[name].get_config('smoke')
    run.export(config, str(workdir))
    model = astro_gan.load_model(workdir / 'export' / 'adversarial')
    description = json.loads((workdir / 'export' / 'adversarial' / 'model.json').read_text())
    assert description['input']['channels'] == 1
    assert description['metrics']['l1_ab'] > 0
    gray = np.asarray(Image.fromarray(hubble[:97, :65]).convert('L'))
    out = model(gray)
    assert out.shape == (97, 65, 3)
    assert out.dtype == np.uint8
    before = color.rgb2lab(np.stack([gray] * 3, axis=-1) / 255)[..., 0]
    after = color.rgb2lab(model(gray / np.float32(255)))[..., 0]
    assert np.abs(after - before).max() < 0.1
    with pytest.raises(ValueError, match='64 x 64'):
        model(gray[:63])
    with pytest.raises(ValueError, match='must be gray'):
        model(hubble[:64, :64])


def test_the_three_steps_hand_on_the_weights(tmp_path, hubble):
    """Supervised on one data set, adversarial on it, adversarial on another: each from the workdir before."""
    (tmp_path / 'astro').mkdir()
    for number in range(4):
        Image.fromarray(hubble[number * 64 : number * 64 + 64, :64]).save(tmp_path / 'astro' / f'{number}.png')
    supervised = {'supervised.steps': 1, 'supervised.eval_every': 1, 'adversarial.steps': 0}
    adversarial = {'supervised.steps': 0, 'adversarial.steps': 1, 'adversarial.eval_every': 1}
    still = {'adversarial.learning_rate': 0.0, 'adversarial.discriminator_learning_rate': 0.0}
    astro = {'dataset.folder': str(tmp_path / 'astro')}
    steps = {
        '1': supervised,
        '2': adversarial | {'init_from': '1'},
        '3': adversarial | astro | still | {'init_from': '2'},
    }
    fresh, states = None, {}
    for name, settings in steps.items():
        config = resnet18_unet_lab.get_config('smoke')
        config.update_from_flattened_dict(settings | {'generator.stages': 1})
        config.init_from = str(tmp_path / config.init_from) if config.init_from else ''
        config.lock()  # as main.py has it
        run.train(config, str(tmp_path / name))
        config.init_from = str(tmp_path / name)
        if fresh is None:  # the networks are the same in all steps
            fresh = create_state(*records(config, 'adversarial'), jax.random.key(5))
        states[name] = initial_state(config, colorization)(fresh)
    # Trained at a rate of zero, step 3 has both networks of step 2, bit for bit; step 2 had moved both.
    for net in ('generator', 'discriminator'):
        one, two, three = (jax.tree.leaves(getattr(states[name], net).params) for name in '123')
        assert all(np.array_equal(a, b) for a, b in zip(two, three, strict=True))
        assert any((a != b).any() for a, b in zip(one, two, strict=True))


def test_the_documented_three_steps_train_what_they_say():
    """The flags of the README and of the config's docstring leave one stage each."""
    flags = [line.split() for line in resnet18_unet_lab.__doc__.splitlines() if '--workdir=runs/' in line]
    assert len(flags) == 3
    for words, stage in zip(flags, ('supervised', 'adversarial', 'adversarial'), strict=True):
        config = resnet18_unet_lab.get_config('paper')
        for word in words:
            name, _, value = word.removeprefix('--config.').partition('=')
            if name.endswith('.epochs'):
                config.update_from_flattened_dict({name: int(value)})
        config.weights.generator = config.weights.discriminator = 'none'
        assert [record.name for record in run.make_stages(config, run.make_task(config))] == [stage]


def test_dropout_and_statistics_resume_to_the_same_bits():
    """A step after a restart is the step of an undisturbed run: dropout and batch norm hide no state elsewhere."""
    config = unet_rgb.get_config('smoke')
    config.generator.depth = 2
    task, stage = records(config, 'supervised')
    state = create_state(task, stage, jax.random.key(0))
    random = np.random.default_rng(0)
    side = config.dataset.crop_size
    batches = [{'crop': random.integers(0, 256, (2, 1, side, side, 3), np.uint8)} for _ in range(2)]
    results = []
    for restart in (False, True):
        step = make_train_step(task, stage, seed=0)
        current, _ = step(replicate(state), batches[0])
        current = replicate(jax.device_get(current)) if restart else current
        results.append(jax.device_get(step(current, batches[1])[0]))
    jax.tree.map(np.testing.assert_array_equal, *results)


def test_epochs_count_the_pictures():
    """epochs in place of steps: an evaluation after each pass over the training pictures."""
    config = resnet18_unet_lab.get_config('paper')
    counted = count_epochs(config, 4200, print)  # the report's training pictures
    assert (counted.adversarial.eval_every, counted.adversarial.steps) == (262, 26_200)
    assert (counted.supervised.steps, config.supervised.steps) == (20 * 262, 0)
    assert count_epochs(config, 3, print).adversarial.steps == 100


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        ({'generator.space': 'hsv'}, ['generator.space', 'rgb, lab']),
        ({'dataset.crop_size': 63}, ['crop_size', '64']),
        ({'dataset.reduction': 3}, ['crop_size', 'reduction 3']),
        ({'weights.generator': '/nonexistent'}, ['/nonexistent']),
        ({'weights.discriminator': 'packaged', 'discriminator.name': 'patch'}, ['weights.discriminator', 'none']),
        ({'adversarial.gradient_penalty': 10.0}, ['discriminator.norm', 'frozen']),
        ({'adversarial.epochs': 3}, ['config.adversarial', 'steps and epochs']),
        ({'generator.dropout': 1.5}, ['generator.dropout']),
        ({'generator.stages': 0}, ['generator.stages', 'at least 1']),
        ({'discriminator.stride_in_1x1': False}, ['stride_in_1x1', 'True']),
        ({'chroma.boost': -2.0}, ['config.chroma', 'boost']),
        ({'init_from': '/nonexistent'}, ['/nonexistent']),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_the_right_ones(settings, words, tmp_path):
    """What main.py prints after 'error:' names the setting and what would be right; nothing is trained."""
    config = resnet18_unet_lab.get_config('smoke')
    if settings.get('discriminator.name') == 'patch':
        del config.discriminator.stride_in_1x1
    config.update_from_flattened_dict(settings)
    with pytest.raises(ValueError, match=r'\w') as caught:
        run.train(config, str(tmp_path / 'run'))
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / 'run' / 'evaluations.csv').exists()


@pytest.mark.parametrize('name', CONFIGS)
def test_paper_variants_are_the_reports(name):
    """Batch 16, Adam 2e-4 with beta1 0.5, lambda 100, 100 epochs, patience 10, 64 px; the networks are valid."""
    config = CONFIGS[name].get_config('paper')
    stage = config.adversarial
    assert (stage.batch_size, stage.learning_rate, stage.beta1, stage.beta2) == (16, 2e-4, 0.5, 0.999)
    assert (stage.pixel_weight, stage.epochs, config.patience) == (100, 100, 10)
    task, record = records(config, 'adversarial')
    assert task.input_shape == (64, 64, 1)
    state = state_shape(task, record)
    assert sum(leaf.size for leaf in jax.tree.leaves(state.generator.params)) > 10_000_000
    net = state.discriminator
    seen = jax.ShapeDtypeStruct((2, 64, 64, 4 if name.endswith('rgb') else 3), np.float32)
    variables = {'params': net.params, 'batch_stats': net.batch_stats}
    logits = jax.eval_shape(task.discriminator.apply, variables, seen)
    assert logits.shape == ((2, 1) if name == 'unet_rgb' else (2, 30, 30, 1))


def test_the_run_of_another_task_is_no_start(tmp_path):
    """config.init_from names a super-resolution run, and the other way round: the line says so."""
    for ours, theirs in ((resnet18_unet_lab, wdsr), (wdsr, resnet18_unet_lab)):
        (tmp_path / 'config.json').write_text(theirs.get_config('smoke').to_json())
        config = ours.get_config('smoke')
        config.init_from = str(tmp_path)
        with pytest.raises(ValueError, match=f'of the task {theirs.get_config().task}, not {config.task}'):
            initial_state(config, run.TASKS[config.task])


@pytest.mark.parametrize(('name', 'channels'), [('unet_rgb', 4), ('resnet18_unet_rgb', 4), ('resnet18_unet_lab', 3)])
def test_the_discriminator_sees_input_and_output(name, channels):
    """A conditional GAN: gray and RGB; or the RGB of L*a*b*, whose L* is the input. Other inputs, other arrays."""
    task, _ = records(CONFIGS[name].get_config('smoke'), 'adversarial')
    rng = np.random.default_rng(0)
    gray, other = rng.random((2, 1, 64, 64, 1), np.float32)
    output = 0.1 * rng.random((1, 64, 64, 3 if name.endswith('rgb') else 2), np.float32)
    seen = task.discriminator_input(gray, output)
    assert seen.shape == (1, 64, 64, channels)
    assert np.abs(seen - task.discriminator_input(other, output)).max() > 0.5
    assert np.abs(seen - task.discriminator_input(gray, 2 * output)).max() > 0.05


def test_classes_are_trained_exported_and_applied(tmp_path, hubble):
    """space = 'classes' is all that it takes: both stages, the table, an export that keeps L*, and its ONNX graph."""
    pytest.importorskip('onnxruntime', reason="needs the extra 'onnx'")
    config = resnet18_unet_lab.get_config('smoke')
    one = {f'{stage}.{key}': 1 for stage in ('supervised', 'adversarial') for key in ('steps', 'eval_every')}
    config.update_from_flattened_dict(one | {'generator.space': 'classes', 'generator.stages': 1})
    run.train(config, str(tmp_path / 'run'))
    rows = read_rows(tmp_path / 'run' / 'evaluations.csv')
    assert [row['stage'] for row in rows] == ['supervised', 'adversarial']
    assert 0.1 < rows[0]['generator/pixel'] < 20  # of nats, times rebalancing weights
    run.export(config, str(tmp_path / 'run'))
    directory = tmp_path / 'run' / 'export' / 'adversarial'
    model = astro_gan.load_model(directory)
    gray = np.asarray(Image.fromarray(hubble[:97, :65]).convert('L'))[None, ..., None] / np.float32(255)
    before = color.rgb2lab(np.repeat(gray, 3, axis=-1))[..., 0]
    live = np.asarray(jax.jit(model.forward)(model.variables, gray))
    assert np.abs(color.rgb2lab(live)[..., 0] - before).max() < 0.1
    assert write_model(model, tmp_path / 'onnx', form='onnx')[1] < TOLERANCE  # it runs what it wrote


@pytest.mark.parametrize('name', ['seresnext50_unet', 'efficientnet_b0_unet', 'pix2pix'])
def test_other_encoders_and_the_patch_discriminator_train(name, tmp_path):
    """The configs of the report's future work: an adversarial step at smoke size, and the table."""
    steps = ['supervised.steps=0', 'adversarial.steps=1', 'adversarial.eval_every=1']
    flags = [f'--config.{setting}' for setting in steps]
    status, out, err = main_here(f'--config=configs/{name}.py:smoke', f'--workdir={tmp_path / name}', *flags)
    assert status == 0, err
    assert any(line.startswith(f'{name} adversarial') for line in out.splitlines())


def test_pix2pix_judges_patches_as_the_paper_does():
    """At 256 px its logits are 30 x 30, each of 70 x 70 pixels (`test_receptive_field`: three halvings)."""
    for variant in ('default', 'paper'):
        config = pix2pix.get_config(variant)
        task, stage = records(config, 'adversarial')
        assert task.input_shape == (256, 256, 1)
        assert config.discriminator.halvings == 3
        seen = jax.ShapeDtypeStruct((1, 256, 256, 4), np.float32)
        logits, _ = jax.eval_shape(task.discriminator.init_with_output, jax.random.key(0), seen)
        assert logits.shape == (1, 30, 30, 1)
        assert stage.name == 'adversarial'
