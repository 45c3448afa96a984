"""The campaign of faults works, and a few of its cases end as all of them must."""

import json
import os
import subprocess
import sys

from tests.conftest import PLAIN, ROOT


def test_a_few_kills_and_faults_change_no_result() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "faults.py"), "--quick"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **PLAIN},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["kills"] == result["survived"] == 2, done.stdout
    assert result["faults"] == 2
    assert not any(result[key] for key in ("lost", "differing", "silent", "tracebacks"))
    assert result["files"] > 20
