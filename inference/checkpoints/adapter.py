"""Merges a PEFT adapter into a model's weights; it is applied only when it is asked for."""

from pathlib import Path

from transformers import PreTrainedModel

from ...configs.errors import UserError
from .fingerprints import adapter_files
from .loading import one_line


def with_adapter(network: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Returns the model with the adapter merged into its weights, so that it routes as they do.

    Raises:
        UserError: PEFT is not installed, or the adapter does not fit the model.
    """
    adapter_files(folder)
    try:
        from peft import PeftConfig, PeftModel
    except ImportError as error:
        raise UserError(
            f"route.adapter={folder}: reading an adapter needs PEFT; pip install peft"
        ) from error
    try:
        adapted = PeftModel(network, PeftConfig.from_pretrained(str(folder)))
        found = adapted.load_adapter(str(folder), adapter_name="default")
        left = [*found.unexpected_keys, *found.missing_keys]
        if left:
            raise ValueError(f"{left[0]} is in one of them only")
        merged: PreTrainedModel = adapted.merge_and_unload(safe_merge=True)
        return merged
    except Exception as error:  # each kind of adapter checks its settings in its own way
        raise UserError(
            f"route.adapter={folder}: does not fit {type(network).__name__} ({one_line(error)})"
        ) from error
