"""The same work as an Apache Beam pipeline: any engine that runs Beam distributes the files, retries and goes on.

Inputs, outputs and models have to be at the same paths for all workers (a shared file system, or a container image).
Apache Beam comes with the extra `beam`.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from astro_gan.errors import UserError
from astro_gan.files import atomic
from astro_gan.inference.choose import choose_frame_model, choose_model
from astro_gan.inference.files import FAILED, Settings, apply_file, remove_stale


class ApplyModel(beam.DoFn):
    """A file at a time; the model is loaded once by each worker."""

    def __init__(self, command: str, names: Sequence[str], factor: int | None, settings: Settings) -> None:
        self.arguments = (command, list(names), factor)
        self.settings = settings
        self.since = time.time()

    def setup(self) -> None:
        """Load the model."""
        blend = self.settings.blend
        self.model = choose_model(*self.arguments, blend)
        self.frame_model = choose_frame_model(*self.arguments) if blend is None else None

    def process(self, job: tuple[str, str]) -> Iterator[str]:
        """One job, (input, output): a line of JSON that says what it came to, and the error.

        A wrong input is a line, for trying again would not help. Anything else is the engine's to try again.
        """
        source, target = job
        try:
            outcome = apply_file(self.model, source, Path(target), self.settings, self.frame_model, since=self.since)
            yield json.dumps([outcome, ''])
        except (UserError, FileNotFoundError, PermissionError) as error:
            yield json.dumps([FAILED, ' '.join(str(error).split())])


def run(
    command: str,
    names: Sequence[str],
    factor: int | None,
    jobs: Sequence[tuple[str, Path]],
    settings: Settings,
    *,
    runner: str,
    options: str = '',
    fail: Any = print,
) -> Counter[str]:
    """Apply a model to files in a pipeline, and wait for it.

    Args:
        command, names, factor: what `choose_model` takes; a model's directory must be there for all workers.
        jobs: inputs with their outputs.
        settings: of the work. A file that the engine tries again after a crash is begun anew.
        runner: a Beam runner's name, such as DirectRunner, FlinkRunner or DataflowRunner.
        options: of the runner, as on a command line.
        fail: is told one line for each file that fails.

    Returns:
        How many were made, finished before, made elsewhere, and failed; see `apply_files`.
    """
    remove_stale({target.parent for _, target in jobs}, print)
    names = [os.path.abspath(name) if os.path.isdir(name) else name for name in names]
    pairs = [(os.path.abspath(source), os.path.abspath(target)) for source, target in jobs]
    # Beside the outputs, where every worker can write.
    common = os.path.commonpath([os.path.dirname(target) for _, target in pairs])
    folder = atomic.temporary_path(Path(common, 'beam'))
    folder.mkdir()
    try:
        flags = [f'--runner={runner}', *shlex.split(options)]
        with beam.Pipeline(options=PipelineOptions(flags)) as pipeline:
            lines = (
                pipeline
                | 'files' >> beam.Create(pairs)
                | 'spread' >> beam.Reshuffle()
                | 'apply' >> beam.ParDo(ApplyModel(command, names, factor, settings))
            )
            lines | 'results' >> beam.io.WriteToText(str(folder / 'results'))
        texts = [path.read_text() for path in sorted(folder.glob('results*'))]
        results = [json.loads(line) for text in texts for line in text.splitlines()]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for outcome, error in results:
        if outcome == FAILED:
            fail(error)
    return Counter(outcome for outcome, _ in results)
