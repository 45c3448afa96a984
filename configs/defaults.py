"""The settings' defaults, and what the settings of an earlier version mean today."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import cache
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf

from .schema import Config
from .section import Section, subsections, tag


def default_values(*presets: str) -> dict[str, Any]:
    """Composes the root config as it is without overrides, but for presets ("router=switch")."""
    with ExitStack() as stack:
        if not GlobalHydra.instance().is_initialized():  # within a command it is
            stack.enter_context(initialize_config_module("moescope.configs", version_base="1.3"))
        tree = compose("moescope", overrides=list(presets))
    values = OmegaConf.to_container(tree, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def completed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Adds to settings, by section, those that are newer than they: each with its default.

    What an earlier version wrote is so the same run today. A section of a plugin, or one that is
    not a section any more, stays as it is.
    """
    return {name: _section(name, values) for name, values in settings.items()}


def _section(name: str, values: Any) -> Any:
    info = Config.model_fields.get(name)
    kinds = subsections(info) if info else []
    if not isinstance(values, dict) or not kinds:
        return values
    of_name = [kind for kind in kinds if tag(kind) == values.get("name")]
    kind = kinds[0] if len(kinds) == 1 else next(iter(of_name), None)
    if kind is None or not any(_lacking(kind, values)):
        return values
    try:
        default = _defaults(name, values["name"] if len(kinds) > 1 else None)
    except HydraException:
        return values
    return _filled(kind, values, default)


@cache
def _defaults(section: str, preset: str | None) -> dict[str, Any]:
    values = default_values(*([f"{section}={preset}"] if preset else []))[section]
    assert isinstance(values, dict)
    return values


def _lacking(kind: type[Section], values: Mapping[str, Any]) -> Iterator[str]:
    """Names the settings of a section that `values` lacks, those of its own sections included."""
    for key, info in kind.model_fields.items():
        inner = subsections(info)
        if key not in values:
            yield key
        elif len(inner) == 1 and isinstance(values[key], dict):
            yield from _lacking(inner[0], values[key])


def _filled(kind: type[Section], values: Mapping[str, Any], default: Any) -> dict[str, Any]:
    filled = dict(values)
    for key, info in kind.model_fields.items():
        if not isinstance(default, dict) or key not in default:
            continue
        inner = subsections(info)
        if key not in values:
            filled[key] = default[key]
        elif len(inner) == 1 and isinstance(values[key], dict):
            filled[key] = _filled(inner[0], values[key], default[key])
    return filled
