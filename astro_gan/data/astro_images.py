"""Pictures to a TensorFlow data set: a curated folder with its manifest, or any folder, built whole or not at all.

Every example is `image` (uint8 RGB), `id`, `group`, `credit`, `licence`, `page` and `sha256`. Plain RGB files keep
their bytes; what decoders do not agree on (orientation, CMYK, palette, 16 bits, alpha, later frames) is settled here,
once, as a PNG. A set is read back by name, without this module: `tfds.builder(name, data_dir=...)`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import re
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
import tqdm
from PIL import Image, JpegImagePlugin, PngImagePlugin
from tensorflow_datasets.core.writer import ExampleWriter
from tensorflow_datasets.proto import tf_example_pb2

from astro_gan import extras
from astro_gan.data.listing import COLUMNS, Picture, list_pictures
from astro_gan.data.sources import SPLITS
from astro_gan.errors import UserError
from astro_gan.files import atomic, pictures
from astro_gan.files.locks import only_one
from astro_gan.files.paths import printable, read_bytes

_READERS = os.cpu_count() or 1
_DESCRIPTION = """
Pictures for colorization and super-resolution, built by `astro-gan dataset build`: {pictures}. No group of pictures
(of one object) is in two splits. Each picture carries its own credit and licence: give the one and keep to the other.
`sha256` is that of the file that a picture came from; plain 8-bit RGB files in JPEG and PNG are stored as they were,
others as PNG, upright, transparency laid on black.
"""
_HOMEPAGE = 'https://arxiv.org/abs/2112.13865'
_CITATION = """
@article{kalvankar2021astronomical,
  title = {Astronomical image colorization and super-resolution using {GANs}},
  author = {Kalvankar, Shreyas and Pandit, Hrushikesh and Parwate, Pranav and Patil, Atharva and Kamalapur, Snehal},
  journal = {arXiv preprint arXiv:2112.13865},
  year = {2021},
}
"""


def build(
    source: str | os.PathLike[str],
    *,
    name: str = 'astro_images',
    data_dir: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    beam_runner: str | None = None,
    beam_options: str = '',
    log: Callable[[str], None] = print,
) -> tfds.core.DatasetBuilder:
    """Build a data set; a builder that reads it.

    Every picture is decoded once and compared with its SHA-256. The first that fails ends the building and nothing of
    it stays, so a data set that is there is whole. Of a folder without a manifest, files whose headers already show
    that they are no pictures are left out, and named in the log.

    Args:
        source: a manifest (CSV: `file` and `split`, and as far as known `id`, `group`, `credit`, `licence`, `page`,
            `sha256`), a folder with a manifest.csv, or a folder of pictures, which is split as `sources.open_source`
            says.
        name: of the data set: lower case letters, digits and _.
        data_dir: where TensorFlow data sets are kept; None for TFDS's own place.
        overwrite: replace the data set of that name.
        beam_runner: build by Apache Beam, on the runner of this name: 'DirectRunner' for this machine. The workers must
            see `source` and `data_dir` under the same paths.
        beam_options: for the runner: 'key=value,key=value,flag'.
        log: receives one line at a time.

    Raises:
        UserError: `source` cannot be used, a picture is damaged or not the one that the manifest means, a group or a
            file is in two splits, the data set is there already, or Beam is not; one line.
        OSError: the data set cannot be written.
    """
    _check_name(name)
    config = _beam_config(beam_runner, beam_options)
    parent = _data_dir(data_dir)
    target = parent / name / str(AstroImages.VERSION)
    root, listed = list_pictures(source, log, _splits_in(target))
    parent.mkdir(parents=True, exist_ok=True)
    with only_one(parent / f'.{name}.lock', busy=''):
        if target.exists() and not overwrite:
            raise UserError(f'data set {name!r} is in {target} already: give another name, or overwrite it')
        # Next to its place, so that it gets there by renaming; not in it, where TFDS could take it for a version.
        atomic.remove_stale(parent)
        draft = atomic.temporary_path(parent / name)
        try:
            made = AstroImages(name, root, listed, beam=beam_runner is not None, data_dir=os.fspath(draft))
            _write(made, config)
            target.parent.mkdir(exist_ok=True)
            atomic.place_folder(Path(made.data_dir), target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return tfds.builder_from_directory(target)


def _splits_in(target: Path) -> dict[str, str]:
    """The split of every id in a data set that was built before; {} if there is none."""
    if not target.exists():
        return {}
    try:
        builder = tfds.builder_from_directory(target)
        undecoded = {'image': tfds.decode.SkipDecoding()}
        return {
            example['id'].decode(): split
            for split in builder.info.splits
            for example in builder.as_data_source(split, decoders=undecoded)
        }
    except Exception as error:  # TFDS raises several types; a damaged set may be replaced too
        raise UserError(
            f'{target}: cannot be read ({" ".join(str(error).split())}), so its splits cannot be kept; remove it first'
        ) from error


def open_built(name: str, data_dir: str | os.PathLike[str] | None = None) -> tfds.core.DatasetBuilder:
    """A builder that reads a data set which is there already.

    Raises:
        UserError: there is none of that name; one line.
    """
    where = _data_dir(data_dir)
    try:
        return tfds.core.read_only_builder.builder_from_files(name, data_dir=where)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise UserError(f'no data set {name!r} in {where}: build it, or say where it is with data_dir') from error


def describe(builder: tfds.core.DatasetBuilder) -> str:
    """A data set's splits, counts, sizes, licences and place, and how to train on it; several lines."""
    info = builder.info
    lines = [f'{info.full_name.replace("/", " ")} in {builder.data_dir}']
    for split, part in info.splits.items():
        lines.append(f'  {split:<12}{part.num_examples:>9} pictures {part.num_bytes / 2**20:>11.1f} MiB')
    lines += ['licences: ' + ' '.join((info.redistribution_info.license or 'not known').split())]
    *_, name, _version = Path(builder.data_dir).parts
    lines += [
        'train on it: python main.py --config=configs/wdsr.py '
        f'--config.dataset.name={name} --config.dataset.data_dir={Path(builder.data_dir).parents[1]}'
    ]
    return '\n'.join(lines)


def read_example(picture: Picture, root: str) -> tuple[str, dict[str, Any]]:
    """Read, check and, where needed, convert a picture: the key and the features of its example.

    Raises:
        UserError: it cannot be read or decoded, or is another file than the manifest says; one line.
    """
    path = Path(root, picture.file)
    shown = printable(path)
    encoded = read_bytes(path)
    sha256 = hashlib.sha256(encoded).hexdigest()
    if picture.sha256 and sha256 != picture.sha256:
        raise UserError(f'{shown}: its SHA-256 is {sha256}, but the manifest says {picture.sha256}: another file')
    pixels = pictures.decode_picture(encoded, shown)
    features = {column: getattr(picture, column) for column in COLUMNS}
    image = encoded if _is_plain(encoded) else _png(pixels)
    return picture.file, {'image': image, 'sha256': sha256, **features}


class AstroImages(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Writes a data set; `build` is what calls it, and reading needs only the files."""

    VERSION = tfds.core.Version('1.0.0')
    RELEASE_NOTES: ClassVar[dict[str, str]] = {'1.0.0': 'First release.'}
    code_path = None  # nothing is downloaded, so there are no checksums of downloads to look for

    def __init__(self, name: str, root: Path, listed: list[Picture], *, beam: bool, data_dir: str):
        self.name = name
        self._root, self._listed, self._beam = os.path.abspath(root), listed, beam
        super().__init__(data_dir=data_dir, file_format='array_record')

    def _info(self) -> tfds.core.DatasetInfo:
        of_split = Counter(picture.split for picture in self._listed)
        licences = Counter(picture.licence or 'not known' for picture in self._listed)
        features = {name: tfds.features.Text() for name in (*COLUMNS, 'sha256')}
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION.format(pictures=', '.join(f'{of_split[s]} in {s}' for s in SPLITS if of_split[s])),
            features=tfds.features.FeaturesDict({'image': tfds.features.Image(shape=(None, None, 3)), **features}),
            homepage=_HOMEPAGE,
            license='; '.join(f'{licence}: {count} pictures' for licence, count in licences.most_common()),
            citation=_CITATION,
            disable_shuffling=False,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager
        parts = {split: [p for p in self._listed if p.split == split] for split in SPLITS}
        return {split: self._generate_examples(split, part) for split, part in parts.items() if part}

    def _example_writer(self) -> ExampleWriter:
        return _SameBytes(self.info.file_format)

    def _generate_examples(self, split: str, part: list[Picture]) -> Any:
        if not self._beam:
            return _examples(split, part, self._root)
        import apache_beam as beam

        return beam.Create(part) | beam.Reshuffle() | beam.Map(read_example, root=self._root)


class _SameBytes(ExampleWriter):
    """Features in one order: protocol buffers otherwise write a map in an order that differs between processes."""

    def write(self, path: Any, examples: Iterable[tuple[Any, bytes]]) -> Any:
        return super().write(path, ((key, _ordered(example)) for key, example in examples))


def _ordered(serialized: bytes) -> bytes:
    return tf_example_pb2.Example.FromString(serialized).SerializeToString(deterministic=True)


def _examples(split: str, part: list[Picture], root: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Examples in the order of the manifest, read ahead by as many threads as there are processors."""
    with ThreadPoolExecutor(_READERS) as pool, tqdm.tqdm(total=len(part), desc=split, unit=' pictures') as bar:
        coming: deque[Any] = deque()
        try:
            for picture in part:
                coming.append(pool.submit(read_example, picture, root))
                if len(coming) > 2 * _READERS:
                    yield coming.popleft().result()
                    bar.update()
            while coming:
                yield coming.popleft().result()
                bar.update()
        finally:
            pool.shutdown(cancel_futures=True)


def _write(made: AstroImages, config: tfds.download.DownloadConfig) -> None:
    """Write the files, with our progress bar in place of TFDS's, which knows no total, and without its messages."""
    beam_log = logging.getLogger('apache_beam')
    level = beam_log.level
    beam_log.setLevel(logging.CRITICAL)  # it would show an error with its traceback, which comes out as one line below
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            made.download_and_prepare(download_config=config)
    except Exception as error:
        # Beam adds where in the pipeline it was, or hands on the text of a worker's traceback.
        text = f'UserError: {error}' if isinstance(error, UserError) else str(error)
        found = re.findall(r'^(?:\S+\.)?(?:UserError|ValueError): (.*?)(?: \[while running .*)?$', text, re.MULTILINE)
        if not found:
            raise
        raise UserError(found[-1]) from error
    finally:
        tfds.enable_progress_bar()
        beam_log.setLevel(level)


def _check_name(name: str) -> None:
    if not re.fullmatch(r'[a-z][a-z0-9_]*', name):
        raise UserError(f'{name!r} is no name for a data set: use lower case letters, digits and _')
    if name in tfds.list_builders(with_community_datasets=False):
        raise UserError(f'{name!r} is the name of a data set of TensorFlow Datasets: give another')


def _beam_config(runner: str | None, options: str) -> tfds.download.DownloadConfig:
    if runner is None:
        if options:
            raise UserError('options for Beam without a runner: name one, as in --beam-runner DirectRunner')
        return tfds.download.DownloadConfig()
    extras.need('building by Beam', 'apache_beam')
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    try:
        made = beam.runners.create_runner(runner)
    except (ValueError, ImportError, AttributeError) as error:
        raise UserError(f'Beam has no runner {runner!r} here: {" ".join(str(error).split())}') from error
    given = PipelineOptions([f'--{option.strip()}' for option in options.split(',') if option.strip()])
    return tfds.download.DownloadConfig(beam_runner=made, beam_options=given)


def _data_dir(given: str | os.PathLike[str] | None) -> Path:
    return Path(os.path.abspath(os.path.expanduser(given or tfds.core.constants.DATA_DIR)))


def _is_plain(encoded: bytes) -> bool:
    """Whether all decoders agree on it: upright 8-bit RGB in JPEG or PNG, one frame, nothing transparent."""
    image: Image.Image
    try:
        if encoded.startswith(b'\xff\xd8\xff'):
            image = JpegImagePlugin.JpegImageFile(io.BytesIO(encoded))
        elif encoded.startswith(b'\x89PNG') and encoded[24] == 8:  # the bit depth (PNG specification, 11.2.2)
            image = PngImagePlugin.PngImageFile(io.BytesIO(encoded))
        else:
            return False
        upright = image.getexif().get(0x0112, 1) == 1
    except Exception:  # a decoder that stumbles over what ours passes over, a text with a wrong checksum
        return False
    odd = 'transparency' in image.info or getattr(image, 'n_frames', 1) > 1
    gamma = abs(image.info.get('gamma', 0.45455) - 0.45455) > 0.005  # ours applies it
    return image.mode == 'RGB' and upright and not odd and not gamma


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'PNG')
    return buffer.getvalue()
