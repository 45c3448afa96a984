"""Hashes what decides a dataset besides its config and corpus; imports nothing heavy."""

from collections.abc import Mapping
from pathlib import Path

from ..configs.manifest import hash_file
from ..configs.schema import Config
from ..configs.schema_dataset import PretrainedTokenizer

TOKENIZER_FILES = ("*.json", "*.txt", "*.model")


def tokenizer_files(config: Config) -> Mapping[str, str]:
    """Hashes a local pretrained tokenizer: its files may change while its path does not."""
    if not isinstance(config.tokenizer, PretrainedTokenizer):
        return {}
    folder = Path(config.tokenizer.path)
    paths = [path for pattern in TOKENIZER_FILES for path in folder.glob(pattern)]
    return {f"tokenizer/{path.name}": hash_file(path) for path in sorted(paths)}
