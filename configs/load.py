"""From Hydra's composed tree to a checked `Config`; every mistake becomes one line."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from .errors import UserError, nearest
from .plugins import load_plugins
from .schema import Config
from .section import Section, subsections


def load_config(tree: DictConfig) -> Config:
    """Validates a composed tree.

    Raises:
        UserError: a key that does not exist, a value out of range, or settings that contradict
            each other; names the key, its value and what is accepted.
    """
    load_plugins(tree.plugins)
    try:
        values = OmegaConf.to_container(tree, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or ""
        if "Missing mandatory value" in str(error):
            raise UserError(f"{key}: needs a value; set {key}=...") from error
        raise UserError(f"config: {str(error).splitlines()[0]}") from error
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise UserError(describe(error, values)) from error


def describe(error: ValidationError, values: Any) -> str:
    """Puts the first of pydantic's complaints into one line for a user."""
    first = error.errors()[0]
    path = _plain_path(first["loc"], values)
    message = first["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if first["type"] == "value_error":
        return f"{path}: {message}" if path else message
    if first["type"] == "extra_forbidden":
        return unknown_key(path)
    if first["type"] == "missing":
        return f"{path}: needs a value"
    return f"{path}={first['input']}: {message}"


def unknown_key(path: str) -> str:
    """Says what is wrong with a key that the chosen sections do not have."""
    keys = [key for key, _ in walk(Config)]
    if path in keys:
        group = path.partition(".")[0]
        return f"{path}: the chosen {group} has no such key; see --help for the one that does"
    return f"{path}: no such key{nearest(path, keys)}; see --help"


def walk(section: type[Section], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yields (dotted key, field) of every leaf; a key shared by several choices comes once."""
    seen = set()
    for name, info in section.model_fields.items():
        kinds = subsections(info)
        nested = chain.from_iterable(walk(kind, f"{prefix}{name}.") for kind in kinds)
        for path, leaf in nested if kinds else [(f"{prefix}{name}", info)]:
            if path not in seen:
                seen.add(path)
                yield path, leaf


def _plain_path(location: tuple[int | str, ...], values: Any) -> str:
    """Drops the union tags that pydantic puts into a location ("source.files.path")."""
    parts: list[str] = []
    node = values
    for part in location:
        if isinstance(node, dict) and part not in node and part == node.get("name"):
            continue
        parts.append(str(part))
        node = node.get(part) if isinstance(node, dict) else None
    return ".".join(parts)
