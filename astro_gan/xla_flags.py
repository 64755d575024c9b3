"""A flag of XLA, JAX's compiler, that makes CPUs faster; `import astro_gan` sets it, a user's own XLA_FLAGS win.

jaxlib 0.10 and 0.11 hand convolutions, products and sums to YNNPACK by default. On x86-64 that is mostly slower
(docs/performance.md; jax-ml/jax#37465), and it has crashed 0.10.2 and 0.11.0 (jax-ml/jax#39257). An empty list of what
to hand over turns it off.

To be taken out when `jax` in pyproject.toml begins at a release that is no faster with it: compare
`python -m benchmarks.train_step` as it is and with XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type=+reduce, which is
XLA's default. JAX's persistent compilation cache has XLA_FLAGS in its key: what was compiled without the flag is
compiled once more.
"""

from __future__ import annotations

import os
import sys

FLAG = '--xla_cpu_experimental_ynn_fusion_type'
_KNOW_IT = ('0.10.', '0.11.')  # releases of jaxlib; an unknown flag ends the process


def set_flags() -> None:
    """Add the flag to XLA_FLAGS, unless it stands there, XLA_FLAGS names a file, or JAX is imported already."""
    given = os.environ.get('XLA_FLAGS', '').strip()
    if FLAG in given or (given and not given.startswith('-')) or 'jax' in sys.modules:
        return
    from jaxlib.version import __version__  # 5 ms; JAX itself is not imported

    if __version__.startswith(_KNOW_IT):
        os.environ['XLA_FLAGS'] = f'{given} {FLAG}='.lstrip()
