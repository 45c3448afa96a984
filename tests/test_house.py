"""The house: who may import whom, deferred imports included, and what is installed."""

import ast
import shutil
import subprocess
import sys
import zipfile
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("configs", "model", "data_processors", "train", "inference", "analysis")
MODEL_MAY_IMPORT = {"torch", "transformers", "huggingface_hub"}  # the last for @strict configs
STATISTICS_MAY_IMPORT = {"numpy", "scipy", "pandas"}
HASHING = "configs.splitmix"  # bits of arrays, no subject


def module_name(path: Path) -> str:
    """The dotted name of a file below the root, without the leading `moescope`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def files_of(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


MODULES = {module_name(path): path for folder in FOLDERS for path in files_of(folder)}


def imports(path: Path) -> tuple[set[str], set[str]]:
    """Returns (modules of the house, others) that a file imports, both as dotted names."""
    own, others = set(), set()
    package = module_name(path).split(".")
    package = package if path.name == "__init__.py" else package[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            others |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            others.add(node.module or "")
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - (node.level - 1)]
            target = ".".join([*base, *(node.module.split(".") if node.module else [])])
            found = {f"{target}.{alias.name}".lstrip(".") for alias in node.names}
            own |= {name if name in MODULES else target for name in found}
    return own, others


def test_no_chapter_imports_another() -> None:
    for name, path in MODULES.items():
        if not name.startswith("analysis.chapters.") or name == "analysis.chapters.chapter":
            continue
        chapter = name.split(".")[2]
        for imported in imports(path)[0]:
            part = imported.split(".")
            of_a_chapter = part[:2] == ["analysis", "chapters"] and part[2:] != ["chapter"]
            assert not of_a_chapter or part[2:3] == [chapter], f"{name} imports {imported}"


def test_parts_of_the_analysis_know_only_those_before_them() -> None:
    order = ("statistics", "data", "html", "chapters", "comparison")
    for name, path in MODULES.items():
        if not name.startswith("analysis."):
            continue
        own = name.split(".")[1]
        allowed = order[: order.index(own) + 1] if own in order else order
        for imported in imports(path)[0]:
            if imported.startswith("analysis."):
                part = imported.split(".")[1]
                assert part in allowed, f"{name} imports {imported}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imports_only_from_folders_above_it(folder: str) -> None:
    allowed = FOLDERS[: FOLDERS.index(folder) + 1]
    for path in files_of(folder):
        own, others = imports(path)
        for name in own:
            assert name.split(".")[0] in allowed, f"{path.relative_to(ROOT)} imports {name}"
        assert not any(name.split(".")[0] == "moescope" for name in others), (
            f"{path.relative_to(ROOT)}: imports inside the package are relative"
        )


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {name: imports(path)[0] - {name} for name, path in MODULES.items()}
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_model_travels_alone() -> None:
    for path in (ROOT / "model").glob("*.py"):
        own, others = imports(path)
        for name in others:
            top = name.split(".")[0]
            known = top in MODEL_MAY_IMPORT or top in sys.stdlib_module_names
            assert known, f"{path.name} imports {name}"
        for name in own:
            assert name.count(".") <= 1, f"{path.name}: only flat siblings travel, not {name}"


def test_analysis_needs_neither_torch_nor_transformers() -> None:
    for path in [*files_of("analysis"), *files_of("inference/store")]:
        for name in imports(path)[1]:
            assert name.split(".")[0] not in ("torch", "transformers"), path.name


def test_statistics_know_arrays_and_no_subject() -> None:
    for path in files_of("analysis/statistics"):
        own, others = imports(path)
        for name in others:
            top = name.split(".")[0]
            known = top in STATISTICS_MAY_IMPORT or top in sys.stdlib_module_names
            assert known, f"{path.name} imports {name}"
        for name in own:
            assert name.startswith(("analysis.statistics", HASHING)), f"{path.name} imports {name}"


def test_the_wheel_holds_one_package(tmp_path: Path) -> None:
    source = tmp_path / "source"  # apart: setuptools would leave its build/ in the repository
    for name in ("moescope", *FOLDERS):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--quiet", "--wheel-dir", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"moescope", f"{'-'.join(wheel.stem.split('-')[:2])}.dist-info"}
    held = set(names)
    for path in [*MODULES.values(), *(ROOT / "configs").rglob("*.yaml")]:
        assert f"moescope/{path.relative_to(ROOT).as_posix()}" in held
    for path in (ROOT / "analysis" / "html" / "templates").iterdir():
        assert f"moescope/analysis/html/templates/{path.name}" in held


def test_a_users_own_model_py_breaks_nothing(tmp_path: Path) -> None:
    for name in FOLDERS:
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the user's own')\n")
    code = "import moescope.model, moescope.analysis.report, moescope.inference.route"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
