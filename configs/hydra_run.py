"""Runs stages with the config that Hydra composes, laid over what the run remembers."""

import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from .changes import announce
from .cross_checks import check_together
from .definition import Stage
from .errors import UserError, nearest
from .memory import parse, settle
from .plugins import load_plugins, named_plugins
from .progress import console
from .remembered import OWN
from .schema import Config
from .stage import execute
from .sweep import Sweep, new_journal
from .typed import Typed, take_apart

FLAGS_WITH_VALUE = ("--config-dir", "-cd", "--config-name", "-cn", "--cfg", "-c", "--package", "-p")
SHORT = {"-c": "--cfg", "-cd": "--config-dir"}
SWEEPS = {"-m", "--multirun"}
YES = {"-y", "--yes"}
PLAN = "--plan"
FLAGS = (
    "--help",
    "--yes",
    "--debug",
    PLAN,
    "--multirun",
    "--cfg",
    "--config-dir",
)  # worth advising
HYDRAS = (
    *("--hydra-help", "--version", "--resolve", "--run", "--shell-completion", "--config-path"),
    *("--config-name", "--package", "--experimental-rerun", "--info"),
)
SHORT_FLAGS = {"-h", "-m", "-y", "-c", "-p", "-r", "-sc", "-cp", "-cn", "-cd", "-i"}


def run_hydra(
    stages: Sequence[Stage],
    arguments: Sequence[str],
    program: str,
    explain: Callable[[Exception], str],
) -> None:
    """Runs the stages in order: once, or once per setting of a sweep.

    Args:
        stages: what to run.
        arguments: the command line after the stage.
        program: what stands before them.
        explain: puts an error into one line.

    Raises:
        UserError: a mistake, or runs of a sweep that failed.
    """
    load_plugins(named_plugins(arguments))
    command = shlex.join([*program.split(), *arguments])
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us instead of Hydra's own exit
    flags, words = divide(arguments)
    refuse_unknown(flags)
    yes = bool(YES & set(flags))
    plans = PLAN in flags
    flags = [flag for flag in flags if flag not in (*YES, PLAN)]
    read = partial(take_apart, folders=_own_presets(flags))
    typed = read(parse(words))
    work = partial(run_stages, stages, command=command, yes=yes)
    failures: list[Exception] = []
    sweep = Sweep(new_journal(words))

    @hydra.main(version_base="1.3", config_path="pkg://moescope.configs", config_name="moescope")
    def job(tree: DictConfig) -> None:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            sweep.run(tree, words, lambda tree, overrides: work(tree, read(overrides)), explain)
            return
        try:
            if shows:
                show(tree, typed, stages)
                return
            if plans:
                plan(stages, tree, typed)
                return
            work(tree, typed)
            _say_next(stages[-1], words, typed)
        except Exception as error:  # raised below: Hydra would print a line of its own first
            failures.append(error)

    flags, shows = _taken_over(flags, typed)
    sys.argv = [program, *flags, *_composed(flags, words, typed)]
    try:
        job()
    finally:
        sweep.collect()
    if failures:
        raise failures[0]
    if len(sweep.models) > 1 and any(stage.name == "train" for stage in stages):
        console.print(sweep.table(), soft_wrap=False)
    if sweep.failed:
        raise sweep.failure()
    if sweep.names and stages[-1].name == "report":
        console.print(f"next: {sweep.comparison(words)}", markup=False, soft_wrap=True)


def divide(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Sorts flags, with their values, from overrides: Hydra's parser refuses `x=1 -m y=2,3`."""
    flags, words = [], []
    queue = iter(arguments)
    for argument in queue:
        flag, equals, value = argument.partition("=")  # --cfg=job is --cfg job, and -c job
        if flag in FLAGS_WITH_VALUE:
            flags += [SHORT.get(flag, flag), value if equals else next(queue, "")]
        elif argument.startswith("-"):
            flags.append(argument)
        else:
            words.append(argument)
    return flags, words


def refuse_unknown(flags: Sequence[str]) -> None:
    """Refuses a flag that neither we nor Hydra know, before Hydra prints its usage."""
    values = {place + 1 for place, flag in enumerate(flags) if flag in FLAGS_WITH_VALUE}
    for place, flag in enumerate(flags):
        name = flag.partition("=")[0]
        if place in values:
            continue
        if flag in FLAGS_WITH_VALUE and not "".join(flags[place + 1 : place + 2]):
            raise UserError(f"{name}: needs a value")
        if name not in (*FLAGS, *HYDRAS, *SHORT_FLAGS, *FLAGS_WITH_VALUE):
            raise UserError(
                f"{name}: no such flag{nearest(name, FLAGS)}; there are {', '.join(FLAGS)}; "
                "settings are typed as KEY=VALUE"
            )


def _own_presets(flags: Sequence[str]) -> list[Path]:
    pairs = pairwise(flags)
    return [Path(value) for flag, value in pairs if flag == "--config-dir"]


def _taken_over(flags: list[str], typed: Typed) -> tuple[list[str], bool]:
    """Takes `--cfg job` from Hydra, which knows nothing of what the run remembers."""
    if ["--cfg", "job"] not in [flags[i : i + 2] for i in range(len(flags))] or typed.experiment:
        return flags, False
    place = flags.index("--cfg")
    return [*flags[:place], *flags[place + 2 :]], True


def _composed(flags: Sequence[str], words: Sequence[str], typed: Typed) -> list[str]:
    """Keeps single values back from Hydra: only the run says to which preset they belong.

    A sweep's go through Hydra, and so do those beside an experiment, which may start a sweep.
    """
    if SWEEPS & set(flags) or typed.experiment:
        return list(words)
    held = [override.input_line for override in typed.values]
    for override in typed.values:
        if override.is_sweep_override():
            raise UserError(
                f"{override.input_line}: several values need -m, which gives each its own run"
            )
    return [word for word in words if word not in held]


def plan(stages: Sequence[Stage], tree: DictConfig, typed: Typed) -> None:
    """Prints what the stages will take on this machine, and runs nothing.

    Raises:
        UserError: a stage without a forecast.
    """
    configs = settle(tree, typed, stages).configs
    for stage in stages:
        if stage.plan is None:
            raise UserError(f"{PLAN}: {stage.name} has no forecast; `moescope route {PLAN}` has")
        for line in stage.plan(configs[stage.name]):
            print(line)


def run_stages(
    stages: Sequence[Stage], tree: DictConfig, typed: Typed, command: str, *, yes: bool
) -> Config:
    """Runs the stages of one run; returns the config of the last.

    Raises:
        UserError: a mistake; commands that it advises name the run.
    """
    try:
        return _run_stages(stages, tree, typed, command, yes=yes)
    except UserError as error:
        raise UserError(_of_this_run(str(error), tree.name, typed)) from error


def _of_this_run(text: str, name: str, typed: Typed) -> str:
    """Adds to "`moescope mask`", wherever an error advises it, which run is meant."""
    general = {key: line for key, line in typed.general.items() if key not in ("seed", "force")}
    words = {"name": f"name={name}"} if general or name != "default" else {}
    line = shlex.join((words | general | words).values())
    advised = rf"`moescope ({'|'.join(stage.name for stage in OWN)})`"
    return re.sub(advised, lambda found: f"`moescope {found[1]} {line}`", text) if line else text


def _run_stages(
    stages: Sequence[Stage], tree: DictConfig, typed: Typed, command: str, *, yes: bool
) -> Config:
    settled = settle(tree, typed, stages)
    if stages[-1] in OWN:
        check_together(stages, settled.configs, settled.manifests)
    announce(stages, settled, consent=yes or bool(tree.force))
    config = settled.configs[stages[-1].name]
    for stage in stages:
        config = settled.configs[stage.name]
        routes_nothing = not config.model.num_experts and config.route.model is None
        if stage.needs_experts and routes_nothing and len(stages) > 1:
            console.print(
                f"{stage.name}: left out, a model with model.num_experts=0 routes nothing"
            )
            continue
        execute(stage, config, command, settled.upstream[stage.name])
    return config


def show(tree: DictConfig, typed: Typed, stages: Sequence[Stage]) -> None:
    """Prints the config that the command would run with."""
    config = settle(tree, typed, stages).configs[stages[-1].name]
    print(OmegaConf.to_yaml(OmegaConf.create(config.model_dump(mode="json"))), end="")


def _say_next(stage: Stage, words: Sequence[str], typed: Typed) -> None:
    # a function of the module: launchers pickle `job` and what it names, and no console pickles
    if stage.next_stage:
        remembered = () if typed.experiment else (*stage.sections, *stage.side_sections)
        kept = [word for word in words if re.split(r"[.=]", word)[0] not in (*remembered, "force")]
        line = shlex.join(["moescope", stage.next_stage, *kept])
        console.print(f"next: {line}", markup=False, soft_wrap=True)
