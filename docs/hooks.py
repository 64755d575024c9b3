"""What the site takes from outside docs/: the models' cards, CONTRIBUTING and CHANGELOG, with links as they are."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
_TAKEN = ('CONTRIBUTING.md', 'CHANGELOG.md', 'astro_gan/weights/**/README.md')


def on_files(files: Files, *, config: Any) -> Files:
    """Add them, each at its place in the checkout."""
    for pattern in _TAKEN:
        for path in sorted(ROOT.glob(pattern)):
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """In the site docs/ is the root of the checkout."""
    for before, after in (('](../../../docs/', '](../../../'), ('](docs/', ']('), ('](../astro_gan/', '](astro_gan/')):
        markdown = markdown.replace(before, after)
    return markdown.replace('](../CONTRIBUTING.md', '](CONTRIBUTING.md')
