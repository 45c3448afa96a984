"""Errors that a user can act on: one line, exit code 2."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in the input or the configuration; its message is the one line a user sees."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(line.strip() for line in message.splitlines() if line.strip()))


def shown(value: object, longest: int = 200) -> str:
    """Returns a value as an error quotes it: of a long one the beginning, and how long it is."""
    text = str(value)
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text):,} characters)"


class Terminated(KeyboardInterrupt):
    """SIGTERM came (a preemption), and what was done so far is saved."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """Returns " (did you mean 'x'?)" for the closest of `choices`, or "" when none is close."""
    close = difflib.get_close_matches(str(name), list(choices), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def first_cause(error: BaseException) -> str:
    """Returns the last line of the check that failed first, without its wrappers' words."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().splitlines()[-1].strip()


def unknown_choice(field: str, value: str, choices: Iterable[str]) -> UserError:
    """Builds the error for a value that is not among `choices`: names field, value, all choices."""
    names = sorted(choices)
    return UserError(
        f"{field}: unknown value {shown(value)!r}{nearest(value, names)}; "
        f"choose one of {', '.join(names)}"
    )
