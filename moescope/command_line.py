"""The command line: hands over to a stage, or to the pipeline of them."""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pkgutil import resolve_name

from .configs.cli import explain, guarded, print_in_any_locale
from .configs.cli import main as run
from .configs.errors import nearest, unknown_choice
from .configs.rerun import rerun_pipeline
from .configs.stages import PIPELINE, STAGES

COMMANDS = {  # what is no stage: it keeps no folder
    "generate": (
        "moescope.inference.generate:main",
        "a text continued, or its [MASK]s filled in, with the experts of each token",
    ),
    "plan": (
        "moescope.train.plan:main",
        "what a training takes on a device: parameters, memory, time, and what fits",
    ),
}
RERUN = "the pipeline of a run that exists, with its settings and those that are typed"
HEADING = """\
moescope <stage> [KEY=VALUE ...]      what do the experts of an MoE transformer specialise in?"""
TEACHING = (
    "`moescope <stage> --help` explains every parameter. Start with: moescope pipeline name=first"
)


def usage() -> str:
    """Says in a line each what can be done."""
    pipeline = {stage.name: stage.summary for stage in PIPELINE}
    all_of_them = f"{', '.join(pipeline)}, in order"
    others = {name: stage.summary for name, stage in STAGES.items() if name not in pipeline}
    others |= {name: summary for name, (_, summary) in COMMANDS.items()}
    lines = [f"  {name:<10} {text}" for name, text in pipeline.items()]
    lines += ["", f"  {'pipeline':<10} {all_of_them}"]
    lines += [f"  {'rerun':<10} {RERUN}", ""]
    lines += [f"  {name:<10} {text}" for name, text in others.items()]
    return "\n".join([HEADING, "", *lines, "", TEACHING, ""])


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `moescope`; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    print_in_any_locale()
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage(), end="")
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(version("moescope"))
        return 0
    name, *rest = arguments
    commands = [*STAGES, *COMMANDS, "pipeline", "rerun"]
    if name.startswith("-"):
        flags = ("--help", "--version")
        close = f"no such flag{nearest(name, flags)}; there are {', '.join(flags)}"
        print(f"moescope: {name}: {close}; the stage comes first", file=sys.stderr)
        return 2
    if name not in commands:
        print(f"moescope: {unknown_choice('stage', name, commands)}", file=sys.stderr)
        return 2
    # OpenMP threads wait a little, then sleep: as fast as spinning on an idle machine, and several
    # times faster beside other work (docs/training.md)
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    if name == "rerun":
        return rerun(rest)
    if name in COMMANDS:
        place, _ = COMMANDS[name]
        try:
            return int(resolve_name(place)(rest, f"moescope {name}"))
        except KeyboardInterrupt:
            return 130
    return run(PIPELINE if name == "pipeline" else [STAGES[name]], rest, f"moescope {name}")


def rerun(arguments: Sequence[str]) -> int:
    """`moescope rerun NAME [KEY=VALUE ...]`; returns the exit code."""
    program = "moescope rerun NAME"
    if {"-h", "--help"} & set(arguments) or not arguments:
        print(f"{RERUN}. NAME: a run in paths.runs, or its folder.\n")
        run(PIPELINE, ["--help"], program)
        return 0 if arguments else 2
    return guarded(lambda rest: rerun_pipeline(rest, program, explain), arguments)
