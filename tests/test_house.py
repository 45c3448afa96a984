"""The house: a folder imports only from folders above it, deferred imports included."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("configs", "model", "data_processors", "train", "inference", "analysis")
MODEL_MAY_IMPORT = {"torch", "transformers", "huggingface_hub"}  # the last for @strict configs


def imported_modules(path: Path) -> list[tuple[int, str]]:
    """Returns (level, module) of every import in a file; level 0 is absolute."""
    modules = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules.append((node.level, node.module or ""))
    return modules


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imports_only_from_folders_above_it(folder: str) -> None:
    allowed = FOLDERS[: FOLDERS.index(folder) + 1]
    for path in (ROOT / folder).rglob("*.py"):
        for level, module in imported_modules(path):
            top = module.split(".")[0]
            if level == 0 and top in FOLDERS:
                assert top in allowed, f"{path.relative_to(ROOT)} imports {module}"
            assert top != "moescope", f"{path.relative_to(ROOT)} imports the command line"


def test_model_travels_alone() -> None:
    for path in (ROOT / "model").glob("*.py"):
        for level, module in imported_modules(path):
            if level == 0:
                top = module.split(".")[0]
                known = top in MODEL_MAY_IMPORT or top in sys.stdlib_module_names
                assert known, f"{path.name} imports {module}"
            else:
                assert level == 1, f"{path.name}: only flat siblings travel with a checkpoint"
                assert "." not in module, f"{path.name}: only flat siblings travel"


def test_analysis_needs_neither_torch_nor_transformers() -> None:
    store = [ROOT / "inference" / name for name in ("store.py", "store_fields.py")]
    files = [*(ROOT / "analysis").rglob("*.py"), *store]
    for path in files:
        for level, module in imported_modules(path):
            assert level or module.split(".")[0] not in ("torch", "transformers"), path.name
