"""No loader runs code that comes with a checkpoint, and none asks whether it may."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

FOLDERS = ("model", "data_processors", "train", "inference", "analysis", "benchmarks", "configs")
AUTO = "Auto"  # AutoModel…, AutoConfig, AutoTokenizer: these look for code beside the weights


def loads(path: Path) -> Iterator[ast.Call]:
    """Calls of `Auto….from_pretrained` (or of a variable that may hold such a class)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = node.func.value
        name = owner.id if isinstance(owner, ast.Name) else ""
        if node.func.attr == "from_pretrained" and name.lower().startswith(AUTO.lower()):
            yield node


def test_every_loader_refuses_foreign_code() -> None:
    seen = 0
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            for call in loads(path):
                seen += 1
                trust = [k.value for k in call.keywords if k.arg == "trust_remote_code"]
                place = f"{path.relative_to(ROOT)}:{call.lineno}"
                assert [ast.literal_eval(value) for value in trust] == [False], place
    assert seen >= 8
