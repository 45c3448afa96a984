"""Records beside files: what they must hash to. A record with a changed field is no record."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ValidationError

from ..configs.errors import UserError
from ..configs.manifest import digest, hash_file, hash_folder
from ..configs.whole_files import sync_tree, write_whole


class DamageError(UserError):
    """A file is missing, cut short or altered; the message names it."""


class Sealed(BaseModel):
    """A record that is written with the hash of its own fields."""

    def write(self, path: Path) -> None:
        """Writes the record whole, as JSON."""
        content = self.model_dump_json(indent=1)
        seal = digest(json.loads(content))
        write_whole(path, f'{{"seal": "{seal}", "record": {content}}}\n')

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a record.

        Raises:
            DamageError: it is missing, or not what was written.
        """
        try:
            envelope = _Envelope.model_validate_json(path.read_bytes())
            record = cls.model_validate(envelope.record)
        except FileNotFoundError as error:
            raise DamageError(f"{path}: missing") from error
        except (ValidationError, OSError) as error:
            raise DamageError(f"{path}: damaged") from error
        # of what the file holds: a version with other fields finds it whole, too
        if digest(envelope.record) != envelope.seal:
            raise DamageError(f"{path}: altered since it was written")
        return record


class _Envelope(BaseModel):
    seal: str
    record: dict[str, object]


class Contents(Sealed):
    """What a folder holds: relative path → hash."""

    files: Mapping[str, str] = {}

    def seal_folder(self, folder: Path, name: str) -> None:
        """Hashes the folder's files, writes the record among them, and waits for the disk."""
        self.model_copy(update={"files": hash_folder(folder)}).write(folder / name)
        sync_tree(folder)

    def check(self, folder: Path) -> None:
        """Compares the folder's files with the record.

        Raises:
            DamageError: one is missing or altered.
        """
        for name, expected in self.files.items():
            path = folder / name
            try:
                found = hash_file(path)
            except FileNotFoundError as error:
                raise DamageError(f"{path}: missing") from error
            except OSError as error:
                raise DamageError(f"{path}: cannot be read ({error.strerror})") from error
            if found != expected:
                raise DamageError(f"{path}: altered since it was written")
