"""What only some commands need, and which extra of this package brings it: `pip install 'astro_gan[data]'`."""

from __future__ import annotations

import importlib.util

from astro_gan.errors import UserError

_BROUGHT_BY = {
    'align': ('reproject',),
    'demo': ('gradio',),
    'data': ('astroquery', 'imagehash', 'pyvo', 'requests', 'skimage', 'tensorflow', 'tensorflow_datasets', 'urllib3'),
    'train': ('clu', 'dm_pix', 'huggingface_hub', 'matplotlib', 'ml_collections'),
    'onnx': ('onnx', 'onnxruntime'),
    'beam': ('apache_beam',),
    'import': ('h5py',),
    'benchmarks': ('ncnn', 'torch'),
    'simulation': ('galsim',),
    'xisf': ('lz4', 'zstandard'),
}
_CALLED = {
    'apache_beam': 'Apache Beam',
    'galsim': 'GalSim',
    'skimage': 'scikit-image',
    'tensorflow': 'TensorFlow',
    'tensorflow_datasets': 'TensorFlow Datasets',
    'torch': 'PyTorch',
}


def need(what: str, *modules: str) -> None:
    """Nothing, if the top-level modules are installed.

    Raises:
        UserError: one is not; `what` needs it, and this says how to get it.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise UserError(explain(what, ModuleNotFoundError(name=module)))


def explain(what: str, error: ModuleNotFoundError) -> str:
    """The line for an import that failed: what needs which package, and the extra that brings it.

    Raises:
        ModuleNotFoundError: `error` itself, where no extra brings the module: that is no user's mistake.
    """
    module = (error.name or '').partition('.')[0]
    for extra, modules in _BROUGHT_BY.items():
        if module in modules:
            return f"{what} needs {_CALLED.get(module, module)}: pip install 'astro_gan[{extra}]'"
    raise error
