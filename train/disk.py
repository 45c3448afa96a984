"""A write that failed, in one line."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from ..configs.errors import UserError
from ..configs.folders import is_full_disk

ROOM = 2**20  # bytes; with less left, a failure is taken for a full disk


@contextmanager
def writing_below(folder: Path, field: str) -> Iterator[None]:
    """Turns a failed write below a folder into a line that says why.

    torch's zip writer says "[enforce fail at inline_container.cc]" whatever the reason was, and
    safetensors has an error of its own.

    Args:
        folder: where the block writes.
        field: the setting that names it.

    Raises:
        UserError: the disk is full, or cannot be written for another reason.
    """
    try:
        yield
    except OSError as error:
        raise _failed(folder, field, error.errno or errno.EIO) from error
    except (RuntimeError, SafetensorError) as error:
        if is_full_disk(error):
            raise _failed(folder, field, errno.ENOSPC) from error
        said = str(error)
        if "inline_container.cc" not in said and "I/O error" not in said:
            raise
        full = shutil.disk_usage(folder).free < ROOM
        raise _failed(folder, field, errno.ENOSPC if full else errno.EIO) from error


def _failed(folder: Path, field: str, number: int) -> UserError:
    return UserError(
        f"{folder}: cannot write ({os.strerror(number)}); make room or choose another place with "
        f"{field}. Earlier checkpoints are whole: the same command goes on from the last"
    )
