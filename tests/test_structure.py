"""The house: who imports whom."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def modules(package):
    """Names of all modules of a package, with their files."""
    found = {}
    for path in sorted((ROOT / package).rglob('*.py')):
        parts = path.relative_to(ROOT).with_suffix('').parts
        found['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = path
    return found


def imports(path, known):
    """The modules that a file imports as it is loaded, or for its types."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ''] + [f'{node.module}.{alias.name}' for alias in node.names]
        else:
            continue
        found |= {name for name in names if name in known}
    return found


def circle(graph):
    """Modules that import each other in a circle; [] if there is none."""
    done, path = set(), []

    def visit(module):
        if module in path:
            return path[path.index(module) :]
        if module in done:
            return []
        path.append(module)
        found = next((found for other in sorted(graph[module]) if (found := visit(other))), [])
        path.pop()
        done.add(module)
        return found

    return next((found for module in sorted(graph) if (found := visit(module))), [])


@pytest.mark.parametrize('package', ['astro_gan', 'experiments'])
def test_no_module_imports_itself_through_others(package):
    """There are no circles, not even for types; a package's own `__init__` is no one's business."""
    known = {name: path for name, path in modules(package).items() if path.name != '__init__.py'}
    assert circle({name: imports(path, known) for name, path in known.items()}) == []


def test_the_lower_floors_know_nothing_of_the_upper():
    """`files` knows itself, errors, extras; `inference`, `fetch`, `curation` no `data`; the library no experiments."""
    known = modules('astro_gan') | modules('experiments')
    allowed = ('astro_gan.files', 'astro_gan.errors', 'astro_gan.extras')
    for name, path in modules('astro_gan').items():
        used = {other for other in imports(path, known) if other not in ('astro_gan', name)}
        assert not {other for other in used if other.startswith('experiments')}, name
        if name.startswith('astro_gan.files'):
            assert not {other for other in used if not other.startswith(allowed)}, name
        if name.startswith(('astro_gan.inference', 'astro_gan.fetch', 'astro_gan.curation')):
            assert not {other for other in used if other.startswith('astro_gan.data')}, name
