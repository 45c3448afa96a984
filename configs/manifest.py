"""manifest.json: what a stage read, wrote and counted."""

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from .defaults import completed
from .errors import UserError

FILE_NAME = "manifest.json"
FORMAT = 1  # of every stage's folder; another number: the stage has to run again
PACKAGES = (
    *("moescope", "torch", "transformers", "tokenizers", "datasets", "accelerate", "hydra-core"),
    *("aim", "pyarrow", "pandas", "numpy", "scipy", "scikit-learn", "plotly"),
)


class Earlier(BaseModel):
    """The settings that a stage had: what a run remembers of it when its folder is gone."""

    config: dict[str, Any]
    side: dict[str, Any] = {}

    @property
    def seed(self) -> int:
        """The seed, which is among the settings."""
        return int(self.config.get("seed", 0))


class Manifest(BaseModel):
    """The record beside a finished stage's files; see docs/contracts.md for each field."""

    format: int = FORMAT
    stage: str
    config: dict[str, Any]
    side: dict[str, Any] = {}
    config_hash: str
    inputs: dict[str, str]
    fingerprint: str
    files: dict[str, str]
    beside: dict[str, str] = {}
    places: dict[str, str] = {}
    upstream: dict[str, Earlier] = {}
    seed: int
    versions: dict[str, str]
    counts: dict[str, Any]
    started_at: str
    elapsed_s: float
    command: str
    seal: str = ""

    def sealed(self) -> "Manifest":
        """Returns the manifest with the hash of all its other fields."""
        as_read = Manifest.model_validate_json(self.model_dump_json())  # a NaN becomes null
        return as_read.model_copy(update={"seal": _seal(as_read.model_dump(mode="json"))})


def _seal(content: Mapping[str, Any]) -> str:
    """Hashes what a manifest holds: one of a version with other fields is found whole, too."""
    return digest({name: value for name, value in content.items() if name != "seal"})


def read_manifest(folder: Path) -> Manifest | None:
    """Reads a folder's manifest; None when the stage never finished there.

    Raises:
        UserError: it is damaged, no manifest, or of another version; says what to run again.
    """
    path = folder / FILE_NAME
    try:
        content = _read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    stage = content.get("stage") if isinstance(content, dict) else None
    if not isinstance(stage, str) or not isinstance(content, dict):
        raise UserError(f"{path}: not a moescope manifest; move {folder} away and rerun")
    again = f"run `moescope {stage}` again"
    if content.get("format") != FORMAT:
        found = content.get("format", "none")
        raise UserError(
            f"{path}: another version of moescope wrote it (format {found}, here {FORMAT}); {again}"
        )
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: damaged; {again}") from error
    if manifest.seal != _seal(content):
        raise UserError(f"{path}: changed since it was written; {again}")
    return _of_today(manifest)


def _of_today(manifest: Manifest) -> Manifest:
    """Settings that are newer than the manifest count as having their defaults."""
    config, side = completed(manifest.config), completed(manifest.side)
    upstream = {
        name: Earlier(config=completed(earlier.config), side=completed(earlier.side))
        for name, earlier in manifest.upstream.items()
    }
    changed = {"config": config, "side": side, "upstream": upstream}
    return manifest.model_copy(update=changed | {"config_hash": digest(config)})


def read_settings(folder: Path) -> Earlier | None:
    """Reads the settings in a manifest, even a damaged one; None where they are not whole."""
    try:
        content = _read_json(folder / FILE_NAME)
    except OSError:
        return None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return None
    config, side = content.get("config"), content.get("side", {})
    if not isinstance(config, dict) or digest(config) != content.get("config_hash"):
        return None
    side = completed(side) if isinstance(side, dict) else {}
    return Earlier(config=completed(config), side=side)


def stage_of(folder: Path) -> str | None:
    """Returns the stage that wrote a folder, in whatever version; None if none did."""
    try:
        content = _read_json(folder / FILE_NAME)
    except OSError:
        return None
    stage = content.get("stage") if isinstance(content, dict) else None
    known = isinstance(stage, str) and {"config_hash", "fingerprint"} <= content.keys()
    return stage if known else None


def _read_json(path: Path) -> Any:
    """Reads JSON; None for what is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return None


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
