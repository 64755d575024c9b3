"""What the core does without: a missing extra is one line that names it, and the compiler's flag."""

import ast
import os
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from astro_gan import extras, xla_flags

ROOT = Path(__file__).parents[1]
NEEDED = {
    'imagehash': ('curate', ['curate', 'pictures', '-o', 'out'], 'data'),
    'tensorflow_datasets': ('dataset', ['dataset', 'build', 'pictures'], 'data'),
    'requests': ('fetch', ['fetch', 'press', '-o', 'out'], 'data'),
}


@pytest.mark.parametrize('module', NEEDED)
def test_a_missing_extra_is_one_line(module, tmp_path):
    """A command whose packages are not installed says which extra brings them, and does nothing."""
    command, line, extra = NEEDED[module]
    run = f'import sys; sys.modules[{module!r}] = None; from astro_gan import cli; sys.exit(cli.main({line}))'
    environment = os.environ | {'PYTHONPATH': str(ROOT)}
    done = subprocess.run(
        [sys.executable, '-c', run], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f'error: {command} needs ')
    assert done.stderr.endswith(f": pip install 'astro_gan[{extra}]'\n")
    assert done.stderr.count('\n') == 1
    assert not list(tmp_path.iterdir())


def test_a_missing_module_of_no_extra_is_a_fault():
    """What no extra brings is not explained away as a user's mistake."""
    with pytest.raises(ModuleNotFoundError, match='gone'):
        extras.explain('it', ModuleNotFoundError("No module named 'astro_gan.gone'", name='astro_gan.gone'))


PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
# The distributions that a module can come from; where it is not installed, one of its own name.
DISTRIBUTIONS = {
    name: {d.lower().replace('_', '-') for d in of} for name, of in metadata.packages_distributions().items()
}


def distributions(module):
    return DISTRIBUTIONS.get(module, {module.replace('_', '-')})


def names(requirements):
    return {Requirement(line).name.lower().replace('_', '-') for line in requirements}


def test_the_extras_bring_what_they_are_said_to():
    """Every module that a line names comes with a package of that extra in pyproject.toml, and not with the core."""
    core = names(PROJECT['dependencies'])
    for extra, modules in extras._BROUGHT_BY.items():
        brought = names(PROJECT['optional-dependencies'][extra])
        assert not brought & core
        for module in modules:
            assert distributions(module) & brought, f'{module} does not come with {extra}'


def test_the_library_imports_what_is_declared():
    """Every package that a module of the library imports stands in pyproject.toml, in the core or in an extra."""
    declared = names(PROJECT['dependencies']).union(*map(names, PROJECT['optional-dependencies'].values()))
    declared.add('jaxlib')  # a part of JAX
    for path in sorted((ROOT / 'astro_gan').rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in {module.partition('.')[0] for module in modules} - sys.stdlib_module_names - {'astro_gan'}:
                assert distributions(module) & declared, f'{path.relative_to(ROOT)}: {module} is not in pyproject.toml'


@pytest.mark.parametrize(
    ('given', 'release', 'wanted'),
    [
        (None, '0.10.2', f'{xla_flags.FLAG}='),
        ('--xla_dump_to=/x', '0.11.0', f'--xla_dump_to=/x {xla_flags.FLAG}='),
        (f'{xla_flags.FLAG}=-reduce', '0.10.2', f'{xla_flags.FLAG}=-reduce'),  # the user's own wins
        ('flags.txt', '0.10.2', 'flags.txt'),  # XLA reads them from that file
        (None, '0.9.4', None),  # an unknown flag would end the process
        (None, '0.12.0', None),
    ],
)
def test_flag_of_the_compiler(given, release, wanted, monkeypatch):
    """The flag is added where jaxlib knows it and the user has said nothing about it, before JAX is imported."""
    monkeypatch.delitem(sys.modules, 'jax', raising=False)
    monkeypatch.setattr('jaxlib.version.__version__', release)
    monkeypatch.delenv('XLA_FLAGS', raising=False)
    if given is not None:
        monkeypatch.setenv('XLA_FLAGS', given)
    xla_flags.set_flags()
    assert os.environ.get('XLA_FLAGS') == wanted


def test_flag_is_left_alone_after_jax(monkeypatch):
    """A program that has imported JAX keeps its own flags."""
    monkeypatch.setitem(sys.modules, 'jax', sys)
    monkeypatch.setenv('XLA_FLAGS', '--xla_dump_to=/x')
    xla_flags.set_flags()
    assert os.environ['XLA_FLAGS'] == '--xla_dump_to=/x'


def test_everything_computes_with_the_flag():
    """The flag is there before JAX is: in the library, the experiments, the benchmarks and these tests."""
    assert f'{xla_flags.FLAG}=' in os.environ['XLA_FLAGS'].split()
    environment = {key: value for key, value in os.environ.items() if key != 'XLA_FLAGS'}
    check = f'import os, sys; sys.exit("{xla_flags.FLAG}=" not in os.environ.get("XLA_FLAGS", ""))'
    for package in ('astro_gan', 'experiments', 'benchmarks'):
        command = [sys.executable, '-c', f'import {package}; {check}']
        assert subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0, package
