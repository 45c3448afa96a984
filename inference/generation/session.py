"""A session of `moescope generate`: one prompt, or a dialogue at the keyboard."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress

import torch
from rich.text import Text

from ...configs.errors import UserError
from ...configs.progress import console as messages
from ...configs.terminal import printable
from ..checkpoints.loaded_model import LoadedModel, find_checkpoint
from .conversation import Conversation
from .request import OPTION, Request, checked_prompt

FIXED = ("models", "seed", "name", "json_path")


def hold_session(request: Request, names: Sequence[str]) -> None:
    """Answers the request's prompt, or those that come from standard input.

    Args:
        request: the command line.
        names: checkpoints, or names of runs.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    folder = request.config.paths.runs
    models = [LoadedModel(find_checkpoint(name, folder), device) for name in names]
    conversation = Conversation(request, models)
    if request.prompt is None:
        converse(conversation)
    else:
        conversation.answer(request.prompt)


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
