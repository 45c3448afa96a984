"""What process 0, or the command that starts processes, tells the others to train."""

import json
from pathlib import Path

from ..configs.manifest import Manifest
from ..configs.plugins import load_plugins
from ..configs.schema import Config
from ..configs.stage import StageRun


def task_of(stage: StageRun) -> str:
    """Writes down what the stage was given, as JSON."""
    beside = {name: str(path) for name, path in stage.beside.items()}
    inputs = {name: manifest.model_dump_json() for name, manifest in stage.inputs.items()}
    return json.dumps([stage.config.model_dump_json(), str(stage.output_dir), inputs, beside])


def stage_of(task: str) -> StageRun:
    """Reads it again; plugins that it names are loaded."""
    config, output_dir, inputs, beside = json.loads(task)
    load_plugins(json.loads(config)["plugins"])
    return StageRun(
        Config.model_validate_json(config),
        Path(output_dir),
        {name: Manifest.model_validate_json(text) for name, text in inputs.items()},
        {name: Path(path) for name, path in beside.items()},
    )
