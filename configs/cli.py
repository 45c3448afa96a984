"""The command line that all stages share: Hydra composes, we validate, run, and explain."""

import io
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from .errors import Terminated, UserError, unknown_choice
from .folders import is_full_disk
from .hydra_run import run_hydra
from .load import unknown_key
from .manual import print_stage_help
from .plugins import choices_of, load_plugins, named_plugins
from .progress import console
from .stage import Stage
from .terminal import printable


def main(stages: Sequence[Stage], arguments: Sequence[str], program: str) -> int:
    """Runs the stages in order with one config; returns the exit code (0, 2, 130 or 143)."""
    if {"-h", "--help"} & set(arguments):
        return guarded(lambda rest: _help(stages, rest, program), arguments)
    return guarded(lambda rest: run_hydra(stages, rest, program, explain), arguments)


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
        The exit code: 0, 2 (a mistake), 130 (interrupted), or 143 (SIGTERM, after a checkpoint).
    """
    debug = "--debug" in arguments
    set_up(debug)
    try:
        job([argument for argument in arguments if argument != "--debug"])
    except Terminated as terminated:
        console.print(f"terminated; {str(terminated) or interrupted}", soft_wrap=True)
        return 143
    except KeyboardInterrupt:
        console.print(f"interrupted; {interrupted}")
        return 130
    except Exception as error:
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
    if is_full_disk(error):
        return f"no space left on the disk ({lines[0][:200]}); make room"
    if is_out_of_memory(error):
        return (
            f"out of memory ({lines[0][:200]}); lower train.batch_size, route.batch_size or the "
            "model's size"
        )
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        return f"{error.filename or 'system'}: {error.strerror or error}"
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return f"unexpected {type(error).__name__}: {lines[-1][:300]} (--debug shows where)"
    refused = re.search(r"Could not override '([^']+)'", text)
    if refused:
        return unknown_key(refused[1])
    if kinds := re.search(r"Cannot merge (Dict|List)Config with (Dict|List)Config", text):
        accepted = {"Dict": "names with values, {a: b}", "List": "a list, [a, b]"}[kinds[1]]
        return f"{getattr(error, 'full_key', None) or 'config'}: this setting is {accepted}"
    missing = re.search(r"Could not find '([\w-]+)/([^']+)'", text)
    if missing and (options := group_options(missing[1])):
        return str(unknown_choice(missing[1], missing[2], options))
    return " ".join(lines[:2])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, the C library or the GPU ran out of memory; torch has words of its own."""
    words = ("OutOfMemory", "can't allocate memory", "cannot allocate memory", "out of memory")
    said = f"{type(error).__name__} {error}"
    return isinstance(error, MemoryError) or any(word in said for word in words)


def group_options(group: str) -> list[str]:
    """Lists the files of a config group."""
    files = (path.stem for path in (Path(__file__).parent / group).glob("*.yaml"))
    return sorted([*files, *choices_of(group)])


def print_in_any_locale() -> None:
    """In an ASCII locale a sign is lost, not the line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def set_up(debug: bool) -> None:
    """Sets logging once and turns off what dependencies would send or print."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    print_in_any_locale()
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING, format="%(name)s: %(message)s"
    )
    if not debug:  # its retries end in our one line
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
