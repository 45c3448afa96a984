"""The commands of the README and of docs/ run, in order, at debug size."""

import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import ROOT, Command

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def shell_commands(page: Path) -> list[list[str]]:
    """Returns the `moescope` lines of a page's ```bash blocks (```text ones are not run)."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("moescope ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_run(page: Path, command: Command, tmp_path: Path) -> None:
    commands = shell_commands(page)
    if not commands:
        pytest.skip(f"{page.name} shows no moescope command")
    for _, stage, *overrides in commands:
        overrides = [part.replace("=runs/", f"={tmp_path}/") for part in overrides]
        asked = {override.partition("=")[0] for override in overrides}
        small = [o for o in debug_overrides(tmp_path) if o.partition("=")[0] not in asked]
        if stage == "rerun":  # the run remembers them
            small = small[:1]
        done = command(stage, *overrides, *small)
        assert done.returncode == 0, f"{page.name}: moescope {stage} {overrides}\n{done.stderr}"


def debug_overrides(runs: Path) -> list[str]:
    """Shrinks whatever a page's command asks for to seconds."""
    return [
        f"paths.runs={runs}",
        "source=synthetic",
        "source.documents_per_topic=60",
        "corpus.splits.probe_documents=10",
        "tokenizer.vocab_size=600",
        "dataset.sequence_length=32",
        "model.num_hidden_layers=2",
        "train.batch_size=8",
        "train.max_steps=4",
        "train.eval_every=2",
        "train.log_every=2",
        "report.permutations=19",
        "report.bootstrap=10",
    ]


def test_the_glossary_explains_every_code() -> None:
    """Analyses are called (E1), (E2) … in docstrings and pages."""
    places = [ROOT / name for name in ("analysis", "inference", "train", "docs", "benchmarks")]
    files = [path for place in places for path in place.rglob("*") if path.suffix in (".py", ".md")]
    texts = [path.read_text(encoding="utf-8") for path in files]
    used = {code for text in texts for code in re.findall(r"(?:\(|\"\"\")(E\d+)\b", text)}
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    assert len(used) >= 10
    assert used <= set(re.findall(r"^\| (E\d+) \|", glossary, re.MULTILINE))


def test_links_point_to_files_that_exist() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} → {target}"
