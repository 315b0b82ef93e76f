"""The addresses of the server: gradio's page, and files of ours that were named to nobody else.

/                                  the page
/videos/N                          a video of the folder
/explanations/N/explanation.html   an explanation; .png, and ``video`` beside it
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from avqa.errors import ConfigError, LibraryMissing
from avqa.pipelines.ask.explain import NUMBERS, PAGE, PICTURE
from avqa.pipelines.serve import page
from avqa.pipelines.serve.desk import VIDEO, Desk
from avqa.pipelines.serve.guard import HOST

SHOWN_FILES = (PAGE, PICTURE, NUMBERS)
OFF = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "GRADIO_MCP_SERVER": "False",
    "GRADIO_SSR_MODE": "False",
    "GRADIO_RUN_HISTORY": "False",
    "GRADIO_SHARE": "False",
}
"""What gradio would tell, fetch, start or keep beside the page."""


def check_library() -> None:
    """Refuse before anything is done.

    Raises:
        LibraryMissing: gradio is not installed.
    """
    if importlib.util.find_spec("gradio") is None:
        raise LibraryMissing(
            "avqa serve: gradio is not installed; expected the extra demo; install it with:"
            " pip install gradio"
        )


def load_gradio(uploads: Path) -> Any:
    """The package ``gradio``, told to keep to itself before it is loaded.

    Args:
        uploads: the folder of what is dropped on a page.
    """
    os.environ.update(OFF, GRADIO_TEMP_DIR=str(uploads), GRADIO_EXAMPLES_CACHE=str(uploads))
    import gradio

    return gradio


def site(gradio: Any, offered: page.Offered, desk: Desk, answering: page.Answering) -> Any:
    """The application: our addresses before gradio's."""
    from fastapi import FastAPI
    from fastapi.responses import FileResponse

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    def video(number: int) -> Any:
        try:
            return _sent(FileResponse, offered.videos.path(number))
        except ConfigError:
            return _nothing()

    def explanation(number: int, name: str) -> Any:
        found = desk.explanation(number)
        if found is None or name not in (*SHOWN_FILES, VIDEO):
            return _nothing()
        return _sent(FileResponse, found.video if name == VIDEO else found.folder / name)

    app.add_api_route("/videos/{number}", video, methods=["GET", "HEAD"])
    app.add_api_route("/explanations/{number}/{name}", explanation, methods=["GET", "HEAD"])
    return gradio.mount_gradio_app(
        app,
        page.blocks(gradio, offered, answering),
        path="/",
        server_name=HOST,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        theme=page.theme(gradio),
        css=page.STYLE,
    )


def _sent(response: Any, file: Path) -> Any:
    return response(file) if file.is_file() else _nothing()


def _nothing() -> Any:
    from fastapi.responses import PlainTextResponse

    return PlainTextResponse("there is no such file\n", status_code=404)
