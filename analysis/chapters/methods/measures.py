"""How every number was made: settings, commands, hashes, versions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ....configs.manifest import Manifest
from ...data.run import RunData
from ...statistics.draws import Draws


@dataclass(frozen=True)
class MethodsRecord:
    """What was run.

    Attributes:
        manifests: of the stages.
        settings: `report` of the config.
    """

    manifests: Mapping[str, Manifest]
    settings: Mapping[str, Any]


def measure_methods(run: RunData, draws: Draws) -> MethodsRecord | None:
    """Gathers the record; None where no stage made the store."""
    if not run.manifests:
        return None
    return MethodsRecord(run.manifests, run.settings.model_dump(mode="json"))
