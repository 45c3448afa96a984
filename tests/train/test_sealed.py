"""Records beside checkpoints outlive a version that has other fields."""

from pathlib import Path

import pytest

from moescope.train.sealed import DamageError, Sealed


class Before(Sealed):
    step: int
    dropped: float = 1e-5


class After(Sealed):
    step: int
    added: str | None = None


def test_a_record_is_whole_for_a_version_with_other_fields(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    Before(step=3).write(path)
    assert After.read(path) == After(step=3)
    path.write_text(path.read_text().replace('"step": 3', '"step": 4'))
    with pytest.raises(DamageError, match="altered since"):
        After.read(path)
