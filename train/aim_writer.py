"""Hands metrics and figures over to the process that writes to Aim (aim_process.py)."""

import json
import subprocess
import sys
from multiprocessing import Pipe
from typing import Any

from ..configs.progress import console

WRITER = (sys.executable, "-m", "moescope.train.aim_process")
PATIENCE_S = 60.0  # for one answer; it usually takes milliseconds


class AimWriter:
    """Aim in a process of its own: it may hang or die there (on a full disk it does both)."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        self._process = subprocess.Popen(
            [*WRITER, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for training, which then closes it
        )
        theirs.close()
        self._waiting = False

    def send(self, verb: str, value: Any = None) -> None:
        """Hands over one thing to do, once the one before it is done.

        Raises:
            OSError: the process failed, or has not answered in time.
        """
        self.answer()
        self._connection.send_bytes(json.dumps([verb, value]).encode())
        self._waiting = True

    def answer(self) -> Any:
        """Waits for the answer to what was handed over last; None where nothing was.

        Raises:
            OSError: the process failed, or has not answered in time.
        """
        if not self._waiting:
            return None
        if not self._connection.poll(PATIENCE_S):
            raise TimeoutError(f"no answer for {PATIENCE_S:.0f} s")
        try:
            error, value = json.loads(self._connection.recv_bytes())
        except EOFError as end:
            raise OSError("its process ended") from end
        self._waiting = False
        if error is not None:
            raise OSError(error)
        return value

    def end(self) -> None:
        """Ends the process, whatever it is doing."""
        self._connection.close()
        self._process.kill()
        self._process.wait()


def warn(
    error: Exception,
    text: str = "train: Aim is off for this run ({error}); metrics go to metrics.jsonl",
) -> None:
    """Says that Aim failed, and what that costs."""
    console.print(text.format(error=error), markup=False, style="yellow", soft_wrap=True)
