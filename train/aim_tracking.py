"""Aim: hyper-parameters, tags, metrics with contexts, load distributions and figures.

Whatever goes wrong in Aim costs one warning; training goes on and metrics.jsonl has it all.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..configs.progress import console
from ..configs.schema import Config

SCALARS = ("loss", "accuracy", "perplexity", "learning_rate", "tokens_per_s", "grad_norm")
LAYER_SCALARS = ("max_violation", "router_entropy", "dead_experts", "drop_rate")


class AimCallback(TrainerCallback):
    """Sends every metric record to an Aim run; goes quiet after the first failure."""

    def __init__(self, run: Any) -> None:
        self._run: Any | None = run
        self.run_hash: str | None = run.hash

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if logs is not None:
            self._guarded(lambda run: track_record(run, logs))

    def set(self, key: str, value: Mapping[str, Any]) -> None:
        """Stores parameters or results under a name."""
        self._guarded(lambda run: run.set(key, dict(value), strict=False))

    def close(self) -> None:
        """Closes the run; nothing is sent afterwards."""
        self._guarded(lambda run: run.close())
        self._run = None

    def _guarded(self, action: Callable[[Any], object]) -> None:
        if self._run is None:
            return
        try:
            action(self._run)
        except Exception as error:
            self._run = None
            warn(error)


@contextmanager
def aim_run(config: Config, run_hash: str | None) -> Iterator[AimCallback | None]:
    """Opens the run's Aim record in `paths.runs`, again if it has a hash; None where Aim is off."""
    callback = open_run(config, run_hash) if config.tracking.name == "aim" else None
    try:
        yield callback
    finally:
        if callback is not None:
            callback.close()


def open_run(config: Config, run_hash: str | None) -> AimCallback | None:
    """Starts an Aim run with the resolved config as its parameters; None if Aim fails."""
    try:
        from aim import Repo, Run  # 2 s to import, and has no wheel on some platforms

        create_repository(Repo, config.paths.runs)
        run = Run(
            run_hash,
            repo=str(config.paths.runs),
            experiment=config.tracking.experiment,
            force_resume=run_hash is not None,
            log_system_params=False,  # it would store environment variables
            capture_terminal_logs=False,
            system_tracking_interval=None,
        )
        run.name = config.name
        for tag in config.tracking.tags:
            if tag not in run.tags:
                run.add_tag(tag)
        run.set("config", config.model_dump(mode="json"), strict=False)
    except Exception as error:
        warn(error)
        return None
    return AimCallback(run)


@contextmanager
def reopened_run(config: Config, run_hash: str) -> Iterator[Any | None]:
    """Opens an existing Aim run to add to it, its parameters as they are; None if Aim fails."""
    try:
        from aim import Run

        run = Run(
            run_hash,
            repo=str(config.paths.runs),
            log_system_params=False,
            capture_terminal_logs=False,
            system_tracking_interval=None,
        )
    except Exception as error:
        warn(error, "report: nothing is sent to Aim ({error!r})")
        yield None
        return
    try:
        yield run
    finally:
        run.close()


def send_report(
    config: Config,
    run_hash: str,
    *,
    figures: Iterable[tuple[str, Mapping[str, Any], go.Figure]],
    numbers: Iterable[tuple[str, Mapping[str, Any], float]],
    summary: Mapping[str, Any],
) -> None:
    """Puts a report's figures and numbers into the Aim run of its training; replaces earlier ones.

    Args:
        config: of the run.
        run_hash: of the Aim run.
        figures: (name, context, figure), data as plain lists: Aim's page reads no packed arrays.
        numbers: (name, context, value).
        summary: becomes the run's parameter `report`.
    """
    with reopened_run(config, run_hash) as run:
        if run is None:
            return
        try:
            from aim import Figure

            run.set("report", dict(summary), strict=False)
            for name, context, value in numbers:
                run.track(value, name=name, step=0, context=dict(context))
            for name, context, figure in figures:
                run.track(Figure(figure), name=name, step=0, context=dict(context))
        except Exception as error:
            warn(error, "report: Aim has part of the report only ({error!r})")


def create_repository(repo: Any, folder: Path) -> None:
    """Makes the repository before any run opens it: several at once fail to create it."""
    if not repo.exists(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        repo.from_path(str(folder), init=True)


def warn(
    error: Exception,
    text: str = "train: Aim is off for this run ({error!r}); metrics go to metrics.jsonl",
) -> None:
    """Says that Aim failed, and what that costs."""
    console.print(text.format(error=error), markup=False, style="yellow", soft_wrap=True)


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
