"""Figures as PNG files, drawn by kaleido in whatever Chromium the machine has."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from ...configs.progress import console
from .page import ALL_LAYERS, Panel

WIDTH, SCALE = 960, 2  # pixels on the page; of the file per pixel on the page
NEEDS = "report: no PNG files:"


def write_images(folder: Path, panels: Sequence[Panel]) -> None:
    """Writes every figure, one file per layer where layers differ; a line says why none come.

    Nothing is loaded from the network: MathJax, which kaleido would fetch, is off.
    """
    try:
        from kaleido import write_fig_from_object_sync  # optional, and slow to import
    except ImportError:
        say("kaleido is not installed (pip install 'moescope[export]')")
        return
    folder.mkdir()
    images = [
        image(folder / f"{panel.name}{suffix(layer)}.png", figure)
        for panel in panels
        for layer, figure in panel.views.items()
    ]
    try:
        write_fig_from_object_sync(images, cancel_on_error=True, kopts={"mathjax": False})
    except Exception as error:  # no browser, one that does not start, one that dies: many types
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        say(
            f"no usable Chromium ({type(error).__name__}); install the system's chromium package "
            "or name the program in BROWSER_PATH"
        )


def image(path: Path, figure: go.Figure) -> dict[str, Any]:
    """Describes one file for kaleido: the figure on white ground."""
    drawn = go.Figure(figure).update_layout(paper_bgcolor="white", width=WIDTH)
    size = {"width": WIDTH, "height": int(figure.layout.height), "scale": SCALE}
    return {"fig": drawn, "path": str(path), "opts": {"format": "png", **size}}


def suffix(layer: str) -> str:
    """Tells the files of a figure's layers apart."""
    return "" if layer == ALL_LAYERS else f"-layer-{layer}"


def say(reason: str) -> None:
    """Prints why there are no images; the report is complete without them."""
    console.print(f"{NEEDS} {reason}", markup=False, style="yellow", soft_wrap=True)
