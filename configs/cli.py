"""The command line that all stages share: Hydra composes, we validate, run, and explain."""

import logging
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .errors import UserError, nearest
from .load import known_keys, load_config
from .manual import print_stage_help
from .progress import console
from .stage import Stage, execute

FLAGS_WITH_VALUE = ("--config-dir", "-cd", "--config-name", "-cn", "--cfg", "-c", "--package", "-p")


def main(stages: Sequence[Stage], arguments: Sequence[str], program: str) -> int:
    """Runs the stages in order with one config; returns the exit code (0, 2, or 130)."""
    arguments = list(arguments)
    if {"-h", "--help"} & set(arguments):
        print_stage_help(stages, program)
        return 0
    debug = "--debug" in arguments
    _quiet(debug)
    try:
        _run_hydra(stages, _flags_first([a for a in arguments if a != "--debug"]), program)
    except KeyboardInterrupt:
        console.print("interrupted; finished stages are kept, the same command goes on from there")
        return 130
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:
        if debug:
            raise
        console.print(f"moescope: {explain(error)}", markup=False, style="red", soft_wrap=True)
        return 2
    return 0


def explain(error: Exception) -> str:
    """Puts an error into one line; Hydra's and OmegaConf's get the nearest valid key."""
    text = str(error).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [repr(error)]
    if isinstance(error, UserError):
        return " ".join(lines)
    if isinstance(error, OSError):
        return f"{error.filename or 'system'}: {error.strerror or error}"
    cause = error.__cause__
    key = getattr(cause, "full_key", None) or getattr(error, "full_key", None)
    if "Could not override" in lines[0] and (key or "'" in lines[0]):
        key = lines[0].split("'")[1] if "'" in lines[0] else key
        return f"{key}: no such key{nearest(str(key), known_keys())}; see --help"
    if "Could not find" in lines[0] and "/" in lines[0]:
        group, _, name = lines[0].split("'")[1].partition("/")
        options = group_options(group)
        if options:
            choices = ", ".join(options)
            return f"{group}: unknown value {name!r}{nearest(name, options)}; choose one of {choices}"
    return " ".join(lines[:2])


def group_options(group: str) -> list[str]:
    """Lists the files of a config group."""
    return sorted(path.stem for path in (Path(__file__).parent / group).glob("*.yaml"))


def _run_hydra(stages: Sequence[Stage], arguments: list[str], program: str) -> None:
    command = shlex.join([*program.split(), *arguments])
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us instead of Hydra's own exit

    @hydra.main(version_base="1.3", config_path="pkg://configs", config_name="moescope")
    def job(tree: DictConfig) -> None:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            OmegaConf.set_readonly(tree, False)
            tree.name = HydraConfig.get().sweep.subdir
        config = load_config(tree)
        for stage in stages:
            execute(stage, config, command)
        following = stages[-1].next_stage
        if following:
            overrides = " ".join(shlex.quote(a) for a in arguments if not a.startswith("-"))
            console.print(f"next: moescope {following} {overrides}".rstrip(), markup=False)

    sys.argv = [program, *arguments]
    job()


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
