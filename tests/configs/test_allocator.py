"""Kept memory: from the first steps on, a step meets no fresh pages."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

FAULTS = """
import resource, sys, torch
from configs.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
x = torch.zeros(2**20, 4)
weight = torch.zeros(4, 4, requires_grad=True)
def step():
    (x @ weight).relu().square().sum().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
warm = [step() for _ in range(8)]
print([step() for _ in range(12)][-1] - warm[-1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_a_step_reuses_what_the_last_one_freed() -> None:
    faults = {}
    for mode in ("keep", "default"):
        done = subprocess.run(
            [sys.executable, "-c", FAULTS, mode],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        faults[mode] = int(done.stdout)
    if faults["default"] < 1000:
        pytest.skip("pages are huge here: nothing to save")
    assert faults["keep"] < faults["default"] / 4
