"""The page: what it looks like, and what a click does. Nothing of it comes from another host."""

from __future__ import annotations

import html
import shlex
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from astro_gan.demo import view, work
from astro_gan.errors import UserError

TITLE = 'astro_gan'
NOTICE = 'Detail and colour in the results are generated: **not for photometry**. Nothing leaves this computer.'
STYLE, SCRIPT = (Path(__file__).with_name(name) for name in ('page.css', 'page.js'))
_WAITING = 16  # requests; more are told to come again
_KEPT = 3600  # seconds that uploads and results are kept
_FONT, _MONO = ['system-ui', 'sans-serif'], ['ui-monospace', 'monospace']


def theme() -> Any:
    """Gradio's plain one in the system's fonts."""
    return gr.themes.Soft(font=_FONT, font_mono=_MONO)


def build(folder: Path, *, megapixels: int) -> gr.Blocks:
    """The page.

    Args:
        folder: for what requests need while they are worked on.
        megapixels: largest image that is taken.
    """
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(_KEPT // 4, _KEPT)) as page:
        gr.Markdown(f'# {TITLE}\n{NOTICE} JPEG, PNG, TIFF, FITS and XISF, up to {megapixels} megapixels.')
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                file = gr.File(
                    label='Picture or frame',
                    value=str(work.PICTURE),
                    elem_id='file',
                    height=120,
                )
                with gr.Row():
                    picture = gr.Button('Example: Hubble Deep Field', size='sm', elem_id='example_picture')
                    frame = gr.Button('Example: simulated frame', size='sm', elem_id='example_frame')
                task = gr.Radio(list(work.TASKS), value='upscale', label='Task', elem_id='task')
                with gr.Row():
                    model = gr.Dropdown(list(work.models('upscale')), value=work.DEFAULT, label='Model')
                    factor = gr.Dropdown([work.DEFAULT, *work.FACTORS], value=work.DEFAULT, label='Factor')
                    stretch = gr.Dropdown(list(work.STRETCHES), value='asinh', label='Stretch (frames)')
                with gr.Group(visible=False) as colours:
                    palette = gr.Dropdown([('none', ''), *work.palettes()], value='', label='Palette')
                    gray = gr.Checkbox(value=True, label='Take colour pictures as gray')
                    colour = gr.ColorPicker(value='#ff5533', label='Colour of the next hint', elem_id='colour')
                    hints = gr.Textbox(
                        value='',
                        label='Hints, x,y=#rrggbb in each line: click on the picture, or write',
                        lines=2,
                        max_lines=6,
                        elem_id='hints',
                    )
                with gr.Accordion('Refinements', open=False) as refined:
                    refinements = gr.CheckboxGroup(
                        list(work.REFINEMENTS), label='Of what enlarges', elem_id='refinements'
                    )
                    back_project = gr.Slider(0, 10, 0, step=1, label='Steps of back-projection')
                    blend = gr.Slider(0, 1, 0, step=0.05, label='Share of the GAN (default model)')
                check = gr.Checkbox(value=True, label='Check what was added', elem_id='check')
                run = gr.Button('Run', variant='primary', elem_id='run')
                status = gr.HTML(_note('Ready.'), elem_id='status')
                preview = gr.Image(
                    label='Input',
                    format='png',
                    interactive=False,
                    buttons=['fullscreen'],
                    elem_id='preview',
                )
            with gr.Column(scale=3, min_width=320):
                slider = gr.ImageSlider(
                    label='Before (bicubic) | after',
                    format='png',
                    interactive=False,
                    buttons=['fullscreen'],
                    max_height=720,
                    elem_id='slider',
                )
                table = gr.HTML(elem_id='numbers')
                maps = gr.Gallery(
                    label='What was added',
                    columns=2,
                    height='auto',
                    format='png',
                    interactive=False,
                    visible=False,
                    elem_id='maps',
                )
                results = gr.File(label='Results', file_count='multiple', interactive=False, elem_id='results')
                line = gr.Textbox(
                    label='The same on the command line', interactive=False, buttons=['copy'], elem_id='line'
                )

        def look(path: str | None, stretch: str, hints: str) -> tuple[Any, str]:
            """The input with its hints, and what is to be said of it."""
            if not path:
                return None, _note('Choose a file.')
            try:
                shown = view.show(path, stretch=stretch, megapixels=megapixels)
            except Exception as error:
                return None, _error(error, path)
            return view.with_hints(shown, view.parsed(hints)), _note(f'{shown.size[1]} x {shown.size[0]} pixels.')

        def hint(
            path: str | None, stretch: str, hints: str, colour: str, task: str, event: gr.SelectData
        ) -> tuple[Any, Any]:
            """One more hint where the picture was clicked."""
            if not path or task == 'upscale':
                return gr.skip(), gr.skip()
            shown = view.show(path, stretch=stretch, megapixels=megapixels)
            column, row = shown.place(*event.index)
            hints = f'{hints.rstrip()}\n{column},{row}={view.hexadecimal(colour)}'.lstrip()
            return hints, view.with_hints(shown, view.parsed(hints))

        def choices(task: str) -> tuple[Any, ...]:
            """Models of the task, and what else it takes."""
            models = gr.Dropdown(choices=list(work.models(task)), value=work.DEFAULT)
            larger = task != 'colorize'
            return (
                models,
                gr.Dropdown(visible=larger),
                gr.Accordion(visible=larger),
                gr.Group(visible=task != 'upscale'),
            )

        def answer(
            path: str | None,
            task: str,
            model: str,
            factor: str,
            stretch: str,
            palette: str,
            gray: bool,
            check: bool,
            hints: str,
            refinements: list[str],
            back_project: int,
            blend: float,
            progress: gr.Progress = gr.Progress(),  # noqa: B008 (how Gradio knows that it is wanted)
        ) -> Iterator[tuple[Any, ...]]:
            """The result; every request has a folder of its own, which is gone when Gradio has copied what it shows."""
            nothing = (None, '', gr.Gallery(value=[], visible=False), None, '')
            if not path:
                yield *nothing, _note('Choose a file.')
                return
            began = time.monotonic()
            with tempfile.TemporaryDirectory(dir=folder) as own:
                try:
                    asked = work.command(
                        task,
                        path,
                        model=model,
                        factor=factor,
                        stretch=stretch,
                        palette=palette,
                        hints=hints.splitlines(),
                        gray=gray,
                        check=check,
                        refinements=refinements,
                        back_project=back_project,
                        blend=blend,
                    )
                    before = view.show(path, stretch=stretch, megapixels=megapixels)
                    progress(0.0, desc='Waiting, or compiling the network')
                    with work.ONE_AT_A_TIME:
                        result = work.process(asked, Path(own), megapixels=megapixels, progress=progress)
                    seconds = time.monotonic() - began
                    pictures = view.maps(result.found, before.turned)
                    pictures += view.trust_map(result.trust) if result.trust else []
                    pair = view.before_and_after(before, result.output, stretch=stretch, megapixels=megapixels)
                except Exception as error:
                    yield *nothing, _error(error, path)
                    return
                told = [Path(part).name if part == path else part for part in asked]
                yield (
                    pair,
                    view.numbers(result.made, seconds, before.size),
                    gr.Gallery(value=pictures, visible=bool(pictures)),
                    result.files,
                    shlex.join(['astro-gan', *told, '-o', 'DIR']),
                    _note('Done.', *result.notes),
                )

        chosen = [file, stretch, hints]
        for event in (page.load, file.change, stretch.change, hints.submit, hints.blur):
            event(look, chosen, [preview, status], show_progress='hidden', api_visibility='private')
        preview.select(
            hint, [*chosen, colour, task], [hints, preview], show_progress='hidden', api_visibility='private'
        )
        task.change(choices, task, [model, factor, refined, colours], show_progress='hidden', api_visibility='private')
        for button, path in ((picture, work.PICTURE), (frame, work.FRAME)):
            button.click(lambda path=str(path): path, None, file, show_progress='hidden', api_visibility='private')
        run.click(
            answer,
            [file, task, model, factor, stretch, palette, gray, check, hints, refinements, back_project, blend],
            [slider, table, maps, results, line, status],
            concurrency_limit=1,
            show_progress_on=[slider],
            api_visibility='private',
        )
    page.queue(max_size=_WAITING, default_concurrency_limit=2, api_open=False)
    return page


def _note(*lines: str) -> str:
    return ''.join(f'<div class="note">{html.escape(line)}</div>' for line in lines)


def _error(error: Exception, path: str) -> str:
    """One line for what a user can change; a fault of the program goes to the terminal."""
    if isinstance(error, UserError | OSError):
        line = ' '.join(str(error).split()).replace(str(Path(path).parent) + '/', '')
    else:
        traceback.print_exception(error)
        line = f'{Path(path).name}: a fault of this program; the terminal that it runs in shows more'
    return f'<div class="error" role="alert">{html.escape(line)}</div>'
