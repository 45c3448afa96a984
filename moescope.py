"""The command line: names the stages, in order, and hands over to one."""

import importlib
import os
import sys
from collections.abc import Sequence

from configs.cli import main as run
from configs.errors import unknown_choice
from configs.stage import Stage

STAGES = {
    "corpus": "data_processors.corpus",
    "mask": "data_processors.mask",
    "train": "train.train",
    "route": "inference.route",
    "report": "analysis.report",
    "import": "inference.import_checkpoint",
    "export": "inference.export_checkpoint",
    "compare": "analysis.compare",
}
COMMANDS = {"generate": "inference.generate"}  # what is no stage: it keeps no folder
PIPELINE = ("corpus", "mask", "train", "route", "report")
USAGE = """\
moescope <stage> [KEY=VALUE ...]      what do the experts of an MoE transformer specialise in?

  corpus     texts with topics, cleaned and split
  mask       tokenizer, windows, fixed evaluation masks
  train      the model, encoder or decoder
  route      every routing decision of the probe split, as tables
  report     statistics and the HTML page
  compare    several finished runs on one page
  generate   a text continued, or its [MASK]s filled in, with the experts of each token
  pipeline   all of the above in order
  import     a checkpoint of transformers as one of ours, as it is or upcycled
  export     one of our decoders as a Llama, Mixtral, OLMoE or Qwen3-MoE

`moescope <stage> --help` explains every parameter. Start with: moescope pipeline name=first
"""


def load_stages(name: str) -> list[Stage]:
    """Imports the stage (or all, for `pipeline`) that a command names."""
    names = PIPELINE if name == "pipeline" else (name,)
    return [importlib.import_module(STAGES[stage]).STAGE for stage in names]


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `moescope`; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0 if arguments else 2
    name, *rest = arguments
    commands = [*STAGES, *COMMANDS, "pipeline"]
    if name not in commands:
        print(f"moescope: {unknown_choice('stage', name, commands)}", file=sys.stderr)
        return 2
    # OpenMP threads wait a little, then sleep: as fast as spinning on an idle machine, and several
    # times faster beside other work (docs/training.md)
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        if name in COMMANDS:
            return importlib.import_module(COMMANDS[name]).main(rest, f"moescope {name}")
        stages = load_stages(name)
    except KeyboardInterrupt:
        return 130
    return run(stages, rest, f"moescope {name}")


if __name__ == "__main__":
    sys.exit(main())
