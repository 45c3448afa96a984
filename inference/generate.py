"""`moescope generate`: models answer a prompt, and show the experts that each token used."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress

import torch
from rich.text import Text

from configs.cli import guarded
from configs.errors import UserError
from configs.manual import print_help
from configs.progress import console as messages
from configs.terminal import printable

from .conversation import Conversation
from .generate_arguments import OPTION, checked_prompt, read_arguments
from .loaded_model import LoadedModel, find_checkpoint

FIXED = ("models", "seed", "name", "json_path")
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


def converse(conversation: Conversation) -> None:
    """Answers prompts until there are no more; a mistake costs one line, not the session."""
    if sys.stdin.isatty():
        with suppress(ImportError):  # not everywhere
            import readline  # noqa: F401  (line editing and history for `input`)
        messages.print("a prompt per line; :KEY=VALUE changes a setting, : shows them, :quit ends")
    for line in _lines():
        if line.strip() in (":quit", ":q"):
            return
        try:
            _take_turn(conversation, line)
        except UserError as error:
            messages.print(Text(printable(str(error)), style="red"), soft_wrap=True)
        except KeyboardInterrupt:
            messages.print("\nstopped; :quit ends")


def _lines() -> Iterator[str]:
    if not sys.stdin.isatty():
        for line in sys.stdin.buffer:
            yield line.decode(errors="replace").rstrip("\r\n")
        return
    while True:
        try:
            yield input("> ")
        except EOFError:
            return


def _take_turn(conversation: Conversation, line: str) -> None:
    command = line.strip()
    if not command.startswith(":"):
        conversation.answer(checked_prompt(line, "prompt"))
    elif command == ":":
        messages.print(Text(printable(conversation.describe())))
    elif match := OPTION.fullmatch(command[1:]):
        if match[1].removeprefix("generate.") in FIXED:
            raise UserError(f"{match[1]}: is fixed once the session has begun; start another")
        conversation.change([(match[1], match[2])])
    else:
        raise UserError(f"{command}: not a command; :KEY=VALUE, : or :quit")


def answer(arguments: list[str]) -> None:
    """Runs the command."""
    request = read_arguments(arguments)
    paths = request.config.paths
    names = request.settings.models or [str(paths.model)]
    if not request.settings.models and not paths.model.is_dir():
        raise UserError(
            f"{paths.model}: no model there; run `moescope train` first, or name others with "
            "models=[...]"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    models = [LoadedModel(find_checkpoint(name, paths.runs), device) for name in names]
    conversation = Conversation(request, models)
    if request.prompt is None:
        converse(conversation)
    else:
        conversation.answer(request.prompt)


def main(arguments: Sequence[str], program: str) -> int:
    """Entry point of `moescope generate`; returns the exit code."""
    before = arguments[: list(arguments).index("--")] if "--" in arguments else arguments
    if {"-h", "--help"} & set(before):
        usage = f"{program} [PROMPT] [KEY=VALUE ...] [--file PATH] [--interactive] [--json PATH]"
        print_help(usage, TEACHING, (), ("generate", "name", "seed", "paths"))
        return 0
    return guarded(answer, arguments, interrupted="nothing is written of this answer")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], "moescope generate"))
