"""Loss curves of a run."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from astro_gan.files import atomic
from astro_gan.tables import Row


def plot_curves(rows: Sequence[Row], path: Path) -> None:
    """Draw generator, discriminator and evaluation curves over the steps, the stages' boundaries marked."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    panels = {
        'generator loss': ['generator/loss'],
        'discriminator loss': ['discriminator/loss'],
        'L1 (validation)': ['eval/l1'],
        'PSNR Y, dB (validation)': ['eval/psnr_y'],
        'LPIPS (validation)': ['eval/lpips'],
        'L1 of a*b* (validation)': ['eval/l1_ab'],
        'colourfulness (validation)': ['eval/colourfulness'],
    }
    panels = {title: names for title, names in panels.items() if any(name in row for row in rows for name in names)}
    if not panels:
        return
    figure, axes = plt.subplots(1, len(panels), figsize=(4 * len(panels), 3.2), squeeze=False)
    for axis, (title, names) in zip(axes[0], panels.items(), strict=True):
        for name in names:
            # Stages minimise different losses: one line each, never joined.
            for stage in dict.fromkeys(row['stage'] for row in rows):
                points = [(row['step'], row[name]) for row in rows if row['stage'] == stage and name in row]
                if points:
                    axis.plot(*zip(*points, strict=True), marker='.', label=stage)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel('step')
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=100)
    plt.close(figure)
    atomic.write(path, buffer.getvalue())
