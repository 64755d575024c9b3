"""The texts of the project: where their links lead. `make docs` checks those of the site, and their anchors."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXTS = [*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md'), *ROOT.glob('astro_gan/**/*.md')]


@pytest.mark.parametrize('text', TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(text):
    """Every link to a file of the checkout, as it is read there, finds the file."""
    prose = re.sub(r'```.*?```|`[^`\n]*`', '', text.read_text(), flags=re.DOTALL)
    targets = re.findall(r'\]\(([^)#\s]+)', prose)
    missing = [target for target in targets if '://' not in target and not (text.parent / target).exists()]
    assert not missing


def test_every_model_that_ships_has_its_pages():
    """A card is in the site, and in the tables of the README and the docs."""
    for card in ROOT.glob('astro_gan/weights/*/README.md'):
        place = card.relative_to(ROOT).as_posix()
        for text in ('README.md', 'docs/models.md', 'mkdocs.yml'):
            assert place in (ROOT / text).read_text(), f'{text} does not name {place}'
