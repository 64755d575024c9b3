"""One page of HTML to look through what was kept and what was refused."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

_STYLE = """
body { font: 13px sans-serif; background: #fff; color: #222; margin: 1em 2em }
.cards { display: flex; flex-wrap: wrap; gap: 10px }
figure { margin: 0; width: 170px; overflow-wrap: anywhere }
img { max-width: 160px; max-height: 160px; display: block; background: #888 }
figcaption small { color: #666; display: block }
"""

# Thumbnail (a path within the output folder, or '' for none), title, lines below it, and a longer text on hovering.
Card = tuple[str, str, Sequence[str], str]


def write(path: Path, title: str, sections: Iterable[tuple[str, Sequence[Card]]]) -> None:
    """Write the page; every text is escaped, and nothing is loaded from elsewhere."""
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f'<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1>',
    ]
    for heading, cards in sections:
        parts.append(f'<h2>{html.escape(heading)} ({len(cards)})</h2><div class="cards">')
        for thumbnail, name, lines, hover in cards:
            picture = f'<img loading="lazy" src="{quote(thumbnail)}" alt="">' if thumbnail else ''
            below = ''.join(f'<small>{html.escape(line)}</small>' for line in lines)
            parts.append(
                f'<figure title="{html.escape(hover)}">{picture}'
                f'<figcaption>{html.escape(name)}{below}</figcaption></figure>'
            )
        parts.append('</div>')
    parts.append('</body></html>')
    path.write_text('\n'.join(parts), encoding='utf-8', errors='backslashreplace')
