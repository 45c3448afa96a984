"""The command line that all stages share: Hydra composes, we validate, run, and explain."""

import logging
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from .errors import UserError, unknown_choice
from .load import load_config, unknown_key
from .manual import print_stage_help
from .plugins import choices_of, load_plugins, named_plugins
from .progress import console
from .schema import Config
from .stage import Stage, execute
from .sweep import Sweep
from .terminal import printable

FLAGS_WITH_VALUE = ("--config-dir", "-cd", "--config-name", "-cn", "--cfg", "-c", "--package", "-p")


def main(stages: Sequence[Stage], arguments: Sequence[str], program: str) -> int:
    """Runs the stages in order with one config; returns the exit code (0, 2, or 130)."""
    if {"-h", "--help"} & set(arguments):
        return guarded(lambda rest: _help(stages, rest, program), arguments)
    return guarded(lambda rest: _run_hydra(stages, _flags_first(rest), program), arguments)


def _help(stages: Sequence[Stage], arguments: Sequence[str], program: str) -> None:
    load_plugins(named_plugins(arguments))
    print_stage_help(stages, program)


def guarded(
    job: Callable[[list[str]], None],
    arguments: Sequence[str],
    interrupted: str = "finished stages are kept, the same command goes on from there",
) -> int:
    """Runs a command's job with its arguments; a user's mistake becomes one line.

    Args:
        job: gets the arguments without `--debug`.
        arguments: the command line after the stage.
        interrupted: what to say when the user stops it.

    Returns:
        The exit code: 0, 2 (a mistake), or 130 (interrupted).
    """
    debug = "--debug" in arguments
    _quiet(debug)
    try:
        job([argument for argument in arguments if argument != "--debug"])
    except KeyboardInterrupt:
        console.print(f"interrupted; {interrupted}")
        return 130
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:
        if debug:
            raise
        line = f"moescope: {printable(explain(error))}"
        console.print(line, markup=False, style="red", soft_wrap=True)
        return 2
    return 0


def explain(error: Exception) -> str:
    """Puts an error into one line; Hydra's and OmegaConf's get the nearest valid key."""
    text = str(error).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [repr(error)]
    if isinstance(error, UserError):
        return " ".join(lines)
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        return f"{error.filename or 'system'}: {error.strerror or error}"
    refused = re.search(r"Could not override '([^']+)'", text)
    if refused:
        return unknown_key(refused[1])
    missing = re.search(r"Could not find '([\w-]+)/([^']+)'", text)
    if missing and (options := group_options(missing[1])):
        return str(unknown_choice(missing[1], missing[2], options))
    return " ".join(lines[:2])


def group_options(group: str) -> list[str]:
    """Lists the files of a config group."""
    files = (path.stem for path in (Path(__file__).parent / group).glob("*.yaml"))
    return sorted([*files, *choices_of(group)])


def _run_hydra(stages: Sequence[Stage], arguments: list[str], program: str) -> None:
    load_plugins(named_plugins(arguments))
    command = shlex.join([*program.split(), *arguments])
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us instead of Hydra's own exit

    failures: list[Exception] = []
    sweep = Sweep()

    @hydra.main(version_base="1.3", config_path="pkg://moescope.configs", config_name="moescope")
    def job(tree: DictConfig) -> None:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            sweep.run(tree, arguments, partial(_run_stages, stages, command=command), explain)
            return
        try:
            _run_stages(stages, load_config(tree), command)
            _say_next(stages[-1], arguments)
        except Exception as error:  # raised below: Hydra would print a line of its own first
            failures.append(error)

    sys.argv = [program, *arguments]
    job()
    if failures:
        raise failures[0]
    if len(sweep.models) > 1 and any(stage.name == "train" for stage in stages):
        console.print(sweep.table())
    if sweep.failed:
        raise sweep.failure()
    if sweep.names and stages[-1].name == "report":
        console.print(f"next: {sweep.comparison(arguments)}", markup=False, soft_wrap=True)


def _run_stages(stages: Sequence[Stage], config: Config, command: str) -> None:
    for stage in stages:
        stage.check(config)
    for stage in stages:
        routes_nothing = not config.model.num_experts and config.route.model is None
        if stage.needs_experts and routes_nothing and len(stages) > 1:
            console.print(
                f"{stage.name}: left out, a model with model.num_experts=0 routes nothing"
            )
            continue
        execute(stage, config, command)


def _say_next(stage: Stage, arguments: Sequence[str]) -> None:
    # a function of the module: launchers pickle `job` and what it names, and no console pickles
    if stage.next_stage:
        kept = (a for a in arguments if not a.startswith(("-", "force=")))
        overrides = " ".join(map(shlex.quote, kept))
        line = f"next: moescope {stage.next_stage} {overrides}".rstrip()
        console.print(line, markup=False, soft_wrap=True)


def _flags_first(arguments: list[str]) -> list[str]:
    """Moves flags before overrides: Hydra's parser refuses `x=1 -m y=2,3`."""
    flags, overrides = [], []
    queue = iter(arguments)
    for argument in queue:
        if argument in FLAGS_WITH_VALUE:
            flags += [argument, next(queue, "")]
        elif argument.startswith("-"):
            flags.append(argument)
        else:
            overrides.append(argument)
    return flags + overrides


def _quiet(debug: bool) -> None:
    """Sets logging once and turns off what dependencies would send or print."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING, format="%(name)s: %(message)s"
    )
    if not debug:  # its retries end in our one line
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
