"""manifest.json: what a stage read, wrote and counted."""

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from .errors import UserError

FILE_NAME = "manifest.json"
PACKAGES = (
    *("moescope", "torch", "transformers", "tokenizers", "datasets", "accelerate", "hydra-core"),
    *("aim", "pyarrow", "pandas", "numpy", "scipy", "scikit-learn", "plotly"),
)


class Manifest(BaseModel):
    """The record beside a finished stage's files; see docs/contracts.md for each field."""

    stage: str
    config: dict[str, Any]
    config_hash: str
    inputs: dict[str, str]
    fingerprint: str
    files: dict[str, str]
    seed: int
    versions: dict[str, str]
    counts: dict[str, Any]
    started_at: str
    elapsed_s: float
    command: str


def read_manifest(folder: Path) -> Manifest | None:
    """Reads a folder's manifest; None when the stage never finished there.

    Raises:
        UserError: the file is there but is not a manifest.
    """
    path = folder / FILE_NAME
    try:
        return Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValidationError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a moescope manifest; delete {folder} and rerun") from error


def digest(value: object) -> str:
    """Hashes a JSON-like value, independent of key order (128 bits, hexadecimal)."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def hash_file(path: Path) -> str:
    """Hashes a file's bytes (128 bits, hexadecimal)."""
    with path.open("rb") as stream:
        return hashlib.file_digest(
            stream,
            lambda: hashlib.blake2b(digest_size=16),  # type: ignore[arg-type]
        ).hexdigest()


def hash_folder(folder: Path) -> dict[str, str]:
    """Hashes every file below a folder: relative path → hash."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in files}


def package_versions(packages: Iterable[str] = PACKAGES) -> Mapping[str, str]:
    """Returns the versions of Python and of the packages that decide a result."""
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
