"""ImageNet weights: safetensors files with torchvision names, packaged or from the hub."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

WEIGHTS = Path(__file__).resolve().parent.parent / 'weights'


def read_tensors(path: str | Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Reads the named tensors as float32 and checks their shapes.

    Raises ValueError naming the file, and the tensor at fault, if the file is missing, not a
    (whole) safetensors file, or a tensor is absent, misshapen or not finite.
    """
    try:
        with safe_open(str(path), 'numpy') as file:
            names = set(file.keys())
            tensors = {}
            for name, shape in shapes.items():
                if name not in names:
                    raise ValueError(f'{path}: tensor {name} is missing')
                tensor = file.get_tensor(name)
                if tensor.shape != tuple(shape):
                    raise ValueError(f'{path}: tensor {name} has shape {tensor.shape}, expected {tuple(shape)}')
                tensors[name] = tensor.astype(np.float32)
                if not np.isfinite(tensors[name]).all():
                    raise ValueError(f'{path}: tensor {name} has values that are not finite')
    except FileNotFoundError:
        raise ValueError(f'{path}: no such weights file') from None
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f'{path}: not a readable safetensors file while looking for {next(iter(shapes))} ({error})'
        ) from None
    return tensors


def hub_file(repository: str, *, setting: str) -> Path:
    """Fetches (or finds in the cache) `model.safetensors` of a Hugging Face repository.

    Any failure is a ValueError of one line: what is missing, and that `setting` takes a file.
    """
    try:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(repository, 'model.safetensors'))
    except Exception as error:  # no package, network, repository, disk: one way out
        reason = str(error).strip().splitlines()
        raise ValueError(
            f'could not get model.safetensors of {repository} from the Hugging Face hub '
            f'({type(error).__name__}: {reason[0] if reason else "no reason given"}); '
            f'download it elsewhere and give its path as {setting}'
        ) from None
