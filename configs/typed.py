"""What a command line says: presets that are named, and single values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from .errors import UserError
from .schema import Config

CONFIGS = Path(__file__).parent
GENERAL = ("name", "seed", "force", "paths", "plugins")  # of the command and not of a stage


@dataclass(frozen=True)
class Typed:
    """A command line, taken apart.

    Attributes:
        values: single values of sections, in order.
        named: sections that a preset replaces.
        partial: what presets of several sections say besides, e.g. `setting=length64_mask05`.
        general: keys of the command itself that are set, e.g. "paths.corpus" → "paths.corpus=x".
        experiment: whether an experiment is named.
    """

    values: Sequence[Override] = ()
    named: frozenset[str] = frozenset()
    partial: Sequence[dict[str, Any]] = ()
    general: Mapping[str, str] = field(default_factory=dict)
    experiment: bool = False

    def sets(self, key: str) -> bool:
        """Whether a key of the command itself, or one above it, is set."""
        parts = key.split(".")
        return any(".".join(parts[: end + 1]) in self.general for end in range(len(parts)))


def take_apart(overrides: Sequence[Override], folders: Sequence[Path] = ()) -> Typed:
    """Sorts a command line's overrides.

    Args:
        overrides: in the order in which they were typed.
        folders: of the user's own presets (`--config-dir`).

    Raises:
        UserError: a section is to have no preset.
    """
    values, partial = [], []
    named, general = set(), {}
    for override in overrides:
        key, choice = override.key_or_group, override.value()
        section = key.partition(".")[0]
        if section == "hydra" or key.startswith("hydra/"):
            continue
        if is_group(override, folders):
            if key in Config.model_fields and choice is None:
                raise UserError(f"{key}=null: needs a preset; see --help for those of {key}")
            if key in Config.model_fields:
                named.add(key)
            elif key != "experiment" and (content := _preset(key, choice, folders)):
                named |= _replaced_by(content)
                partial.append({k: v for k, v in content.items() if k in Config.model_fields})
        elif section in GENERAL:
            general[key] = override.input_line or key
        else:
            values.append(override)
    experiment = any(o.key_or_group == "experiment" and o.value() is not None for o in overrides)
    return Typed(values, frozenset(named), partial, general, experiment)


def is_group(override: Override, folders: Sequence[Path] = ()) -> bool:
    """Whether an override picks a preset."""
    key = override.key_or_group
    if "." in key or not isinstance(override.value(), str | None):
        return False
    return any((folder / key).is_dir() for folder in (CONFIGS, *folders))


def _preset(group: str, choice: Any, folders: Sequence[Path]) -> dict[str, Any]:
    for folder in (*folders, CONFIGS):
        if (path := folder / group / f"{choice}.yaml").is_file():
            content = OmegaConf.to_container(OmegaConf.load(path))
            return {str(k): v for k, v in content.items()} if isinstance(content, dict) else {}
    return {}


def _replaced_by(preset: dict[str, Any]) -> set[str]:
    """The sections whose preset another preset picks: `defaults: [override /router: masked]`."""
    entries = preset.get("defaults") or []
    keys = [key for entry in entries if isinstance(entry, dict) for key in entry]
    return {str(key).removeprefix("override ").lstrip("/") for key in keys}
