"""The process that writes to Aim: `python -m moescope.train.aim_process DESCRIPTOR`.

It reads [verb, value] from a pipe and answers [error, value] to each, as JSON. What Aim does when
its disk is full (threads that wait for ever, finalisers that print tracebacks) stays in here.
"""

import fcntl
import json
import os
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

SCALARS = ("loss", "accuracy", "perplexity", "learning_rate", "tokens_per_s", "grad_norm")
LAYER_SCALARS = ("max_violation", "router_entropy", "dead_experts", "drop_rate")


def serve(connection: Connection) -> None:
    """Does what it is told until it is told to close, or the other end is gone."""
    run: Any = None
    while True:
        try:
            verb, value = json.loads(connection.recv_bytes())
        except (EOFError, OSError):  # training was killed
            verb, value = "close", None
        answer = None
        try:
            if verb == "open":
                run = open_run(value)
                answer = run.hash
            elif verb == "track":
                track_record(run, value)
            elif verb == "measure":
                track_result(run, *value)
            elif verb == "set":
                run.set(value[0], value[1], strict=False)
            elif run is not None:
                run.close()
            error = None
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"
        try:
            connection.send_bytes(json.dumps([error, answer]).encode())
        except OSError:
            return
        if verb == "close":
            return


def open_run(wanted: Mapping[str, Any]) -> Any:
    """Starts an Aim run, or opens it again if it has a hash; without a config only to add to it."""
    from aim import Repo, Run  # 2 s to import, and has no wheel on some platforms

    if wanted["hash"] is None:
        create_repository(Repo, Path(wanted["runs"]))
    run = Run(
        wanted["hash"],
        repo=wanted["runs"],
        experiment=wanted.get("experiment"),
        force_resume=wanted["hash"] is not None,
        log_system_params=False,  # it would store environment variables
        capture_terminal_logs=False,
        system_tracking_interval=None,
    )
    if "config" in wanted:
        run.name = wanted["name"]
        for tag in wanted["tags"]:
            if tag not in run.tags:
                run.add_tag(tag)
        run.set("config", wanted["config"], strict=False)
    return run


def create_repository(repo: Any, folder: Path) -> None:
    """Makes the repository before any run opens it; several processes do it one after another.

    At once they would fail: Aim writes its files without a lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not repo.exists(str(folder)):
            repo.from_path(str(folder), init=True)
    finally:
        os.close(lock)


def track_record(run: Any, record: Mapping[str, Any]) -> None:
    """Sends one metric record: scalars by split, layer and topic, the load as distributions."""
    from aim import Distribution, Figure

    split = {"split": record["split"]}

    def track(value: Any, name: str, **context: Any) -> None:
        if value is not None:
            step, epoch = record["step"], int(record["epoch"])
            run.track(value, name=name, step=step, epoch=epoch, context=split | context)

    for name in SCALARS:
        track(record.get(name), name)
    for name, value in record["balance"].items():
        track(value, f"balance/{name}")
    for layer in record["layers"]:
        for name in LAYER_SCALARS:
            track(float(layer[name]), name, layer=layer["layer"])
        load = layer["load"]
        track(Distribution(hist=load, bin_range=(0, len(load))), "load", layer=layer["layer"])
    for topic, figures in record.get("topics", {}).items():
        track(figures["loss"], "loss", topic=topic)
    if record["split"] == "validation" and record["layers"]:
        track(Figure(load_figure(record["layers"])), "load")


def track_result(run: Any, name: str, context: Mapping[str, Any], value: Any) -> None:
    """Sends one result of a finished run, a number or a figure; it replaces an earlier one."""
    from aim import Figure

    result = Figure(go.Figure(value)) if isinstance(value, dict) else value
    run.track(result, name=name, step=0, context=dict(context))


def load_figure(layers: list[dict[str, Any]]) -> go.Figure:
    """Heatmap layer x expert of the load over the balanced share (1 = balanced).

    Data as plain lists: Aim's page cannot read plotly's packed arrays.
    """
    num_experts = len(layers[0]["load"])
    heatmap = go.Heatmap(
        z=[[share * num_experts for share in layer["load"]] for layer in layers],
        x=[f"expert {expert}" for expert in range(num_experts)],
        y=[f"layer {layer['layer']}" for layer in layers],
        zmid=1.0,
        colorscale="RdBu_r",
        colorbar={"title": {"text": "load / balanced"}},
    )
    return go.Figure(heatmap)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[-1])))
    os._exit(0)  # Aim's threads and finalisers may wait for ever
