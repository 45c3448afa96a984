"""The report's main figures and numbers in the Aim run of the training they are about."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from ...configs.schema import Config
from ...train.aim_writer import AimWriter, warn
from ...train.owner import aim_run_of
from .page import ALL_LAYERS, Panel


def track_report(config: Config, panels: Sequence[Panel], summary: Mapping[str, Any]) -> None:
    """Adds the report to the run's Aim page; does nothing where the training was not tracked.

    Whatever goes wrong in Aim costs one warning.
    """
    if config.tracking.name != "aim":
        return
    run_hash = aim_run_of(config.paths.checkpoints)
    if run_hash is None:
        return
    writer = AimWriter()
    try:
        writer.send("open", {"runs": str(config.paths.runs.absolute()), "hash": run_hash})
        writer.send("set", ["report", dict(summary)])
        for result in main_numbers(summary):
            writer.send("measure", result)
        for name, context, figure in main_figures(panels):
            # plain lists: Aim's page reads no packed arrays
            writer.send("measure", (name, context, json.loads(figure.to_json())))
        writer.send("close")
        writer.answer()
    except (OSError, ValueError) as error:
        warn(error, "report: Aim has none or part of the report ({error})")
    finally:
        writer.end()


def main_figures(panels: Sequence[Panel]) -> Iterator[tuple[str, dict[str, int], go.Figure]]:
    """Takes the main figures, titled: (name, context with the layer, figure)."""
    for panel in panels:
        for layer, view in panel.views.items() if panel.is_main else ():
            place = {} if layer == ALL_LAYERS else {"layer": int(layer)}
            title = f"{panel.title}, layer {layer}" if place else panel.title
            figure = go.Figure(view).update_layout(title={"text": title}, margin={"t": 90})
            yield f"report/{panel.name}", place, figure


def main_numbers(summary: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, int], float]]:
    """Takes the main numbers of each layer: (name, context with the layer, value)."""
    for layer in summary["layers"]:
        for name, value in layer.items():
            if name != "layer" and isinstance(value, int | float):
                yield f"report/{name}", {"layer": int(layer["layer"])}, float(value)
