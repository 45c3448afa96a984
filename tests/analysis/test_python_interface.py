"""The package from Python: names resolve, and the example in the docs answers its question."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from moescope import analysis

from .stores import Planted, write_store

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "topic_of_an_expert.py"


def test_every_exported_name_is_there_explained_and_no_modules_name() -> None:
    modules = {path.stem for path in Path(analysis.__file__).parent.glob("*.py")}
    for name in analysis.__all__:
        assert getattr(analysis, name).__doc__, name
        assert name not in modules, f"{name} would be the module once that is imported"
    assert set(analysis.__all__) <= set(dir(analysis))
    assert not hasattr(analysis, "topic_infromation")


def test_importing_the_package_reads_nothing_heavy() -> None:
    code = "import moescope.analysis, sys; print({'pandas', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "set()", done.stderr


def test_the_example_names_the_planted_topic(tmp_path: Path) -> None:
    store = write_store(tmp_path / "routing", Planted(effect=2.0), np.random.default_rng(0))
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), str(store), "2", "1"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    header, first, *rest = done.stdout.splitlines()
    assert header.split()[:2] == ["topic", "share"]
    assert first.split()[0] == Planted().topics[1], "the topic whose expert it is stands first"
    assert len(rest) == 3
    p_value = header.split().index("p_value")
    assert float(first.split()[p_value]) == 0.001


def test_the_docs_show_the_example_as_it_is() -> None:
    body = EXAMPLE.read_text(encoding="utf-8").split('"""\n', 2)[-1].strip()
    assert body in (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
