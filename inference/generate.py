"""`moescope generate`: models answer a prompt, and show the experts that each token used."""

import sys
from collections.abc import Sequence

from ..configs.cli import guarded, print_in_any_locale
from ..configs.errors import UserError
from ..configs.manual import print_help
from ..configs.stage import later
from .generation.request import read_arguments

SUMMARY = "Let models go on from a prompt, or fill in its [MASK]s, and show each token's experts."
TEACHING = f"""\
{SUMMARY}

The prompt is one argument, --file PATH, or standard input; --interactive asks for one after the
other (there ":KEY=VALUE" changes a setting, ":" shows them, ":quit" ends). It is taken as it is
typed; what looks like KEY=VALUE is a setting, unless it stands behind --.
  moescope generate name=demo "The [MASK] of a matrix"
  moescope generate models=[demo,runs/other/model] temperature=0 "The state of the Union"
  moescope generate name=gptime year=1850 "Our railways" --json answers.jsonl
Settings of generate may drop the prefix (temperature=0.5); the column that a masked router reads
is a setting, too (year=1850). --debug shows tracebacks.
"""


def answer(arguments: list[str]) -> None:
    """Runs the command."""
    request = read_arguments(arguments)
    model = request.config.paths.model
    names = request.settings.models or [str(model)]
    if not request.settings.models and not model.is_dir():
        raise UserError(
            f"{model}: no model there; run `moescope train name={request.config.name}` first, or "
            "name others with models=[...]"
        )
    later("moescope.inference.generation.session:hold_session")(request, names)


def main(arguments: Sequence[str], program: str) -> int:
    """Entry point of `moescope generate`; returns the exit code."""
    print_in_any_locale()
    before = arguments[: list(arguments).index("--")] if "--" in arguments else arguments
    if {"-h", "--help"} & set(before):
        usage = f"{program} [PROMPT] [KEY=VALUE ...] [--file PATH] [--interactive] [--json PATH]"
        print_help(usage, TEACHING, (), ("generate", "name", "seed", "paths"))
        return 0
    return guarded(answer, arguments, interrupted="nothing is written of this answer")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], "moescope generate"))
