"""Aim's process with a fault: `python broken_aim.py PART DESCRIPTOR`."""

import os
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

import aim

from moescope.train.aim_process import serve


def fail(*arguments: Any, **options: Any) -> None:
    raise RuntimeError("no space for Aim")


def hang(*arguments: Any, **options: Any) -> None:
    time.sleep(600)


if __name__ == "__main__":
    part = sys.argv[1]
    setattr(aim.Run, "track" if part == "hang" else part, hang if part == "hang" else fail)
    serve(Connection(int(sys.argv[-1])))
    os._exit(0)
