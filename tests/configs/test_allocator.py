"""Kept memory: a block that was freed is handed out again without page faults."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

FAULTS = """
import ctypes, resource, sys
from configs.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
libc, size = ctypes.CDLL(None), 2**26
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use():
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    libc.free(block)
use()
before = faults()
use()
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_a_freed_block_is_used_again() -> None:
    faults = {}
    for mode in ("keep", "default"):
        command = [sys.executable, "-c", FAULTS, mode]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        faults[mode] = int(done.stdout)
    if faults["default"] < 1000:
        pytest.skip("huge pages, or another C library: nothing to save")
    assert faults["keep"] < 100
