"""`moescope plan`: what a training takes, before it begins."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from hydra import compose, initialize_config_module
from rich.table import Table

from ..configs.cli import guarded, print_in_any_locale
from ..configs.errors import UserError
from ..configs.hydra_run import divide, refuse_unknown
from ..configs.manifest import read_manifest
from ..configs.manual import print_help
from ..configs.memory import parse, settle
from ..configs.progress import console
from ..configs.schema import Config
from ..configs.stages import TRAIN
from ..configs.typed import take_apart

TEACHING = """\
What `moescope train` with the same settings takes: parameters, memory and time per step on a
named device, and which way of dividing it over several devices fits. Nothing is trained.
Parameters are counted; memory is worked out from them and from the batch; times are forecasts.
  moescope plan experiment=demo plan.device=cpu
  moescope plan model=olmoe router.top_k=8 router.renormalise=false tokenizer.vocab_size=50304 \\
      dataset.sequence_length=512 train.batch_size=4 plan.device=h100 plan.devices=8
--json prints the figures as JSON.
"""
SECTIONS = ("plan", "model", "router", "train", "name", "paths")
GUESSED_VOCABULARY = 32_768


def plan(arguments: Sequence[str]) -> None:
    """Prints the forecast of a command line."""
    words = [word for word in arguments if word != "--json"]
    config = _config(words)
    architecture, vocabulary = _architecture(config)
    from .planning import DEVICES, advice, sizes_of, this_machine, ways_to_train

    settings = config.plan
    device = DEVICES.get(settings.device) or this_machine()
    sizes = sizes_of(config, architecture, half=device.half)
    # the rate of a CPU is measured, so all of it is reached
    utilisation = settings.utilisation if settings.device in DEVICES else 1.0
    ways = ways_to_train(sizes, device, settings.devices, utilisation)
    advised = advice(ways, device)
    if len(words) < len(arguments):
        figures = {"device": asdict(device), "devices": settings.devices, "sizes": asdict(sizes)}
        print(json.dumps(figures | {"ways": [asdict(way) for way in ways], "advice": advised}))
        return
    for line in _facts(config, sizes, vocabulary):
        console.print(f"plan: {line}", markup=False, soft_wrap=True)
    console.print(_table(ways, config, device))
    console.print(f"plan: {advised}", markup=False, soft_wrap=True)
    share = f"{utilisation:.0%} of" if settings.device in DEVICES else "a measured"
    console.print(
        f"plan: forecast, with {share} {device.flops / 1e12:,.3g} TFLOP/s and "
        f"{device.link / 1e9:,.0f} GB/s between devices of one machine; nothing overlaps",
        soft_wrap=True,
    )


def _config(words: Sequence[str]) -> Config:
    """The settings that train would have: the run's, and what was typed."""
    flags, overrides = divide(words)
    refuse_unknown(flags)
    if flags:
        raise UserError(f"{flags[0]}: plan takes no such flag; settings are typed as KEY=VALUE")
    typed = take_apart(parse(overrides))
    with initialize_config_module("moescope.configs", version_base="1.3"):
        tree = compose("moescope", overrides)
        return settle(tree, typed, [TRAIN]).configs["train"]


def _architecture(config: Config) -> tuple[Any, str]:
    """The model, and where the size of its vocabulary comes from."""
    from .build import planned_architecture

    dataset = read_manifest(config.paths.dataset)
    if dataset is not None:
        return planned_architecture(config, dataset.counts["vocab_size"]), "of the dataset"
    size = getattr(config.tokenizer, "vocab_size", None)
    where = "as tokenizer.vocab_size says" if size else "a guess, as there is no dataset yet"
    return planned_architecture(config, size or GUESSED_VOCABULARY), where


def _facts(config: Config, sizes: Any, vocabulary: str) -> list[str]:
    train = config.train
    optimizer = 16 * sizes.parameters / 1e9
    return [
        f"{sizes.parameters:,} parameters, {sizes.active:,} active; vocabulary {vocabulary}",
        f"float32 weights, gradients and AdamW's two moments: {optimizer:,.2f} GB, 16 bytes per "
        "parameter",
        f"one process and forward pass: {train.batch_size} × {config.dataset.sequence_length} "
        f"tokens, activations {sizes.activations / 1e9:,.2f} GB, {sizes.flops:.3g} operations "
        "with the backward pass",
    ]


def _table(ways: Sequence[Any], config: Config, device: Any) -> Table:
    title = f"{config.plan.devices} × {device.name}, {device.memory / 1e9:,.0f} GB (forecast)"
    table = Table(title=title, title_justify="left")
    table.add_column("per device" if len(ways) > 1 else "")
    for way in ways:
        table.add_column(way.name, justify="right")
    gigabytes = {
        "weights, GB": "weights",
        "gradients, GB": "gradients",
        "AdamW, GB": "optimizer",
        "activations, GB": "activations",
        "all of these, GB": "memory",
    }
    rows: dict[str, list[str]] = {
        heading: [f"{getattr(way, name) / 1e9:,.2f}" for way in ways]
        for heading, name in gigabytes.items()
    }
    rows["fits"] = ["yes" if way.fits else "no" for way in ways]
    rows["sent per step, GB"] = [f"{way.sent / 1e9:,.2f}" for way in ways]
    rows["computing, s per step"] = [f"{way.compute_s:,.3g}" for way in ways]
    rows["sending, s per step"] = [f"{way.sending_s:,.3g}" for way in ways]
    rows["tokens per step, all"] = [f"{way.tokens:,}" for way in ways]
    rows["tokens per s, all"] = [f"{way.tokens_per_s:,.0f}" for way in ways]
    if steps := config.train.max_steps:
        times = [(way.compute_s + way.sending_s) * steps / 3600 for way in ways]
        rows[f"hours for {steps:,} steps"] = [f"{hours:,.3g}" for hours in times]
    for heading, cells in rows.items():
        table.add_row(heading, *cells)
    return table


def main(arguments: Sequence[str], program: str) -> int:
    """Entry point of `moescope plan`; returns the exit code."""
    print_in_any_locale()
    if {"-h", "--help"} & set(arguments):
        print_help(f"{program} [KEY=VALUE ...]", TEACHING, ("experiment",), SECTIONS)
        return 0
    return guarded(plan, list(arguments), interrupted="nothing was to be written")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], "moescope plan"))
