"""Reads the command line of `moescope generate`: a prompt as it is typed, and KEY=VALUE options.

Hydra's grammar gives commas, brackets and quotes a meaning, so it sees only what belongs to the
run (name=, paths.*, seed=, groups); the prompt and the settings of this command never pass it.
"""

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import yaml
from pydantic import ValidationError

from ...configs.cli import group_options
from ...configs.compose import compose_found
from ...configs.errors import UserError, nearest, unknown_choice
from ...configs.load import describe
from ...configs.schema import Config
from ...configs.schema_generate import Generate

OPTION = re.compile(r"([A-Za-z_][\w./@]*)=(.*)", re.DOTALL)
FLAGS = ("--file", "--json", "--interactive", "--debug", "--help")


@dataclass(frozen=True)
class Request:
    """What a command line asks for.

    Attributes:
        metadata: column → value as typed, e.g. {"year": "1850"}; whether a model knows the
            column is seen once it is loaded.
        prompt: None = read prompts until there are no more.
    """

    config: Config
    metadata: Mapping[str, str] = field(default_factory=dict)
    prompt: str | None = None

    @property
    def settings(self) -> Generate:
        return self.config.generate

    def changed(self, options: Sequence[tuple[str, str]]) -> "Request":
        """Returns the request with other settings: (key, value as typed) each.

        Raises:
            UserError: a value that the setting does not take.
        """
        metadata = dict(self.metadata)
        typed: dict[str, Any] = {}
        for key, value in options:
            name = key.removeprefix("generate.")
            if name == "models":
                typed.setdefault(name, []).extend(_names(value))
            elif name in Generate.model_fields:
                typed[name] = None if value == "null" else value
            elif value == "null":
                metadata.pop(key, None)
            else:
                metadata[key] = value
        try:
            settings = Generate.model_validate(self.settings.model_dump() | typed)
        except ValidationError as error:
            raise UserError(describe(error, typed)) from error
        config = self.config.model_copy(update={"generate": settings})
        return replace(self, config=config, metadata=metadata)


def read_arguments(arguments: Sequence[str]) -> Request:
    """Reads a command line; the prompt comes from it, from a file, or from standard input.

    Raises:
        UserError: an unknown flag or key, a bad value, more than one prompt, or an empty one.
    """
    flags, words = _parse_flags(arguments)
    options, prompts = [], []
    for word in words:
        match = OPTION.fullmatch(word)
        options.append((match[1], match[2])) if match else prompts.append(word)
    if "--" in arguments:
        prompts += arguments[arguments.index("--") + 1 :]
    if flags.json is not None:
        options.append(("json_path", flags.json))
    for_hydra = [_override(key, value) for key, value in options if _belongs_to_run(key)]
    own = [option for option in options if not _belongs_to_run(option[0])]
    request = Request(compose_found(for_hydra)).changed(own)
    return replace(request, prompt=_prompt(prompts, flags.file, flags.interactive))


def _belongs_to_run(key: str) -> bool:
    """Whether an option is for Hydra: a config key or group, also a mistyped one ("a.b")."""
    if key.removeprefix("generate.") in Generate.model_fields:
        return False
    return key in Config.model_fields or "." in key or "/" in key or bool(group_options(key))


def _override(key: str, value: str) -> str:
    """Writes an option for Hydra; names of a sweep's runs hold commas, which it would split at."""
    plain = key == "name" and value[:1] not in ("'", '"')
    return f"{key}='{value}'" if plain else f"{key}={value}"


class _FlagParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(message)


def _parse_flags(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Returns the flags before `--`, and the words that are none."""
    parser = _FlagParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--json")
    parser.add_argument("-i", "--interactive", action="store_true")
    end = arguments.index("--") if "--" in arguments else len(arguments)
    flags, words = parser.parse_known_args(arguments[:end])
    for word in words:
        if re.match(r"--?[A-Za-z]\S*$", word):
            raise unknown_choice("flag", word.partition("=")[0], FLAGS)
    return flags, words


def _prompt(prompts: list[str], path: Path | None, interactive: bool) -> str | None:
    given = len(prompts) + (path is not None) + interactive
    if given > 1:
        found = ", ".join(repr(word[:30]) for word in prompts)
        raise UserError(
            f"prompt: given {given} times ({found or '--file, --interactive'}); give one: quote it "
            "as one argument, or use --file or --interactive"
        )
    if interactive or (not given and sys.stdin.isatty()):
        return None
    if prompts:
        return checked_prompt(prompts[0], "prompt")
    if path is not None:
        return checked_prompt(_read_text(path.read_bytes(), str(path)), str(path))
    return checked_prompt(_read_text(sys.stdin.buffer.read(), "standard input"), "standard input")


def checked_prompt(text: str, place: str) -> str:
    """Returns the text, if it is valid UTF-8 and not blank."""
    with suppress(UnicodeError):  # in some locales Python reads arguments as ASCII
        text = os.fsencode(text).decode()
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{place}: not UTF-8 text (character {error.start})") from error
    if not text.strip():
        raise UserError(f"{place}: the prompt is empty; give some text to go on from")
    return text


def _read_text(content: bytes, place: str) -> str:
    """Decodes UTF-8 and drops the last line's end, which editors and `echo` add."""
    try:
        return content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: not UTF-8 text (byte {error.start})") from error


def _names(value: str) -> list[str]:
    """Reads `models=`: one name as it is, or a list in brackets (quotes protect commas)."""
    if not value.startswith("["):
        return [value]
    try:
        names = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f"models={value}: not a list; write models=[runs/a/model,b]") from error
    return [str(name) for name in names]


def refuse_unknown(metadata: Mapping[str, str], label: str | None, columns: Sequence[str]) -> None:
    """Refuses metadata that no model asks for: a mistyped setting, or a column they lack.

    Args:
        metadata: column → value, as the command line names them.
        label: the value for whatever column there is.
        columns: columns that the models' masked routers read.

    Raises:
        UserError: names the key, and what there is.
    """
    reads = f"the masked router here reads {', '.join(sorted(set(columns)))}"
    if not columns:
        reads = "no model here has a masked router, which reads metadata"
    for key in metadata:
        if key not in columns:
            close = nearest(key, [*columns, *Generate.model_fields, *Config.model_fields])
            raise UserError(
                f"{key}: no such option{close}; {reads}; a prompt that looks like KEY=VALUE goes "
                "behind --"
            )
    if label is not None and not columns:
        raise UserError(f"label={label}: {reads}")
