"""The server of the page: on this computer alone unless told otherwise, and nothing left when it ends."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from astro_gan.errors import UserError


def serve(*, host: str, port: int, megapixels: int, megabytes: int, log: Callable[[str], Any]) -> None:
    """Serve the page until Ctrl-C.

    Args:
        host: address to listen on.
        port: 0: any free one.
        megapixels, megabytes: largest image, and largest upload.
        log: is told where the page is.

    Raises:
        UserError: the address cannot be used; one line.
    """
    port = _free(host, port)
    with tempfile.TemporaryDirectory(prefix='astro-gan-demo-', ignore_cleanup_errors=True) as name:
        folder = Path(name)
        os.environ['GRADIO_TEMP_DIR'] = str(folder / 'files')
        # Read when Gradio is imported: it asks nobody for its newest version, and reports nothing.
        os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
        os.environ['HF_HUB_DISABLE_TELEMETRY'] = '1'
        # Before anything else: who opens the page at once should not wait for the network to be compiled.
        threading.Thread(target=_preload, args=(folder / 'preloaded',), daemon=True).start()
        from astro_gan.demo import page, work

        requests = folder / 'requests'
        requests.mkdir()
        blocks = page.build(requests, megapixels=megapixels)
        blocks.launch(
            server_name=host,
            server_port=port,
            share=False,
            inbrowser=False,
            quiet=True,
            prevent_thread_lock=True,
            show_error=False,
            max_file_size=megabytes * 10**6,
            allowed_paths=[str(work.EXAMPLES)],
            theme=page.theme(),
            css=page.STYLE.read_text(),
            js=page.SCRIPT.read_text(),
            footer_links=[],
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
        )
        log(f'http://{f"[{host}]" if ":" in host else host}:{port}/ (Ctrl-C ends it)')
        try:
            while True:
                time.sleep(0.5)
        finally:
            blocks.close(verbose=False)


def _preload(folder: Path) -> None:
    from astro_gan.demo import work

    try:
        work.preload(folder)
    except Exception:  # the first request will say it to its user; who started the server should know why
        with contextlib.suppress(OSError):
            traceback.print_exc()


def _free(host: str, port: int) -> int:
    """The port, or a free one for 0.

    Raises:
        UserError: it is taken, or there is no such address.
    """
    try:
        with socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((host, port))
            return trial.getsockname()[1]
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f'--host {host} --port {port}: {reason}; another port, or 0 for any free one') from None
