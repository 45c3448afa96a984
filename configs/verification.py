"""Whether a folder still holds what its manifest says, by hash; unchanged files are hashed once.

Sizes and times of files whose hash was seen lie in `.NAME.hashes.json` beside the folder.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from .errors import UserError
from .manifest import Manifest, hash_file
from .whole_files import write_json

SIGN = "hashes of moescope"
Seen = dict[str, list[int | str]]  # file → size, time of the last change in ns, hash


def verify(folder: Path, manifest: Manifest) -> None:
    """Compares a stage's folder with its manifest.

    Raises:
        UserError: a file is missing, cut short or altered; names it and what to run.
    """
    if name := damaged(folder, manifest):
        raise UserError(
            f"{folder / name}: is not what `moescope {manifest.stage}` wrote (missing, damaged or "
            f"changed since), so it is not used; run `moescope {manifest.stage}` again"
        )


def damaged(folder: Path, manifest: Manifest) -> str | None:
    """Returns the first file that is not what the manifest says; None where all are."""
    before, now = _load(folder), dict[str, list[int | str]]()
    wrong = None
    for name, expected in manifest.files.items():
        try:
            status = (folder / name).stat()
            state = [status.st_size, status.st_mtime_ns]
            known = before.get(name, [])
            found = known[2] if known[:2] == state else hash_file(folder / name)
        except OSError:
            wrong = wrong or name
            continue
        if found == expected:
            now[name] = [*state, found]
        else:
            wrong = wrong or name
    if now != before:
        _save(folder, now)
    return wrong


def note_hashes(folder: Path, files: Mapping[str, str]) -> None:
    """Notes the hashes of files that were just written."""
    states = {name: (folder / name).stat() for name in files}
    _save(folder, {n: [s.st_size, s.st_mtime_ns, files[n]] for n, s in states.items()})


def _place(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.hashes.json")


def _load(folder: Path) -> Seen:
    try:
        content = json.loads(_place(folder).read_text(encoding="utf-8"))
        if content["what"] == SIGN:
            return {name: list(state) for name, state in content["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    return {}


def _save(folder: Path, seen: Seen) -> None:
    """Writes what was seen, where there is room and nothing of somebody else's."""
    place = _place(folder)
    try:
        text = place.read_text(encoding="utf-8") if place.exists() else SIGN
    except (OSError, ValueError):
        return
    if SIGN in text:
        with suppress(OSError):
            write_json(place, {"what": SIGN, "files": seen}, indent=None)
