"""What several stages must agree on, found before the first of them writes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from .definition import Stage
from .errors import UserError
from .manifest import Manifest, digest
from .results import refuse_other_result
from .schema import Config


def check_together(
    stages: Sequence[Stage], configs: Mapping[str, Config], manifests: Mapping[str, Manifest]
) -> None:
    """Refuses settings that a later stage of the same command would refuse.

    Args:
        stages: those of the command.
        configs: stage → its config.
        manifests: stage → its finished result; what is finished with these settings is fine.

    Raises:
        UserError: names the setting and what is accepted; or somebody's files stand where a stage
            would write.
    """
    for stage in stages:
        config, finished = configs[stage.name], manifests.get(stage.name)
        refuse_other_result(stage, getattr(config.paths, stage.output).resolve())
        if finished is None or finished.config_hash != digest(stage.settings(config)):
            if stage.name == "train" and len(stages) > 1:
                _check_masks(config)
            if stage.name == "route" and len(stages) > 1:
                _check_route(config)
            stage.check(config)


def _check_masks(config: Config) -> None:
    if not config.model.is_causal and config.masking.name == "none":
        raise UserError(
            "masking=none: an encoder has nothing to predict; set model.is_causal=true (a decoder "
            "preset), or masking=token"
        )
    if config.router.name == "masked" and config.dataset.attend_across:
        raise UserError(
            "router=masked: with dataset.attend_across=true documents attend to others, whatever "
            "their metadata; set dataset.attend_across=false"
        )
    if config.train.start_from is not None and not config.train.start_from.is_dir():
        raise UserError(f"train.start_from={config.train.start_from}: no such folder")


def _check_route(config: Config) -> None:
    senses, model = config.route.senses, config.route.model
    if senses is not None and not senses.is_file():
        raise UserError(f"route.senses={senses}: no such file")
    if model is not None and Path(model).is_absolute() and not Path(model).exists():
        raise UserError(f"route.model={model}: no such folder")
