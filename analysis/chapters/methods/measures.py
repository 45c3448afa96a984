"""How every number was made: settings, commands, hashes, versions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ....configs.manifest import Manifest
from ...data.run import RunData


@dataclass(frozen=True)
class MethodsRecord:
    """What was run.

    Attributes:
        manifests: of the stages.
        settings: `report` of the config.
        definitions: terms of all chapters, (term, meaning).
    """

    manifests: Mapping[str, Manifest]
    settings: Mapping[str, Any]
    definitions: Sequence[tuple[str, str]]


def methods_of(run: RunData, definitions: Sequence[tuple[str, str]]) -> MethodsRecord | None:
    """Gathers the record; None where no stage made the store."""
    if not run.manifests:
        return None
    return MethodsRecord(run.manifests, run.settings.model_dump(mode="json"), definitions)
