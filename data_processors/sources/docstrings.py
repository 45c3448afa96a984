"""Reads the docstrings of a Python file off its syntax tree.

The reading processes import this module alone, so it imports nothing of ours.
"""

import ast
import gc
import inspect
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

MIN_PROSE_WORDS = 12
_WORD = re.compile(r"[A-Za-z]{2,}")
_CODE_LINE = re.compile(r"^\s*(>>>|\.\.\.)")


def read_file(path: Path, module: str) -> list[tuple[str, str]]:
    """Lists (qualified name, dedented docstring) of a file in source order.

    A name that comes twice (overloads, property setters) gets "#2", "#3" …; docstrings with fewer
    than `MIN_PROSE_WORDS` words outside of doctest lines are left out, and so are files that this
    Python cannot parse (templates, code for other versions).
    """
    source = path.read_bytes()
    if b'"""' not in source and b"'''" not in source:
        return []
    tree = _parse(source)
    if tree is None:
        return []
    seen: dict[str, int] = {}
    found = []
    for name, docstring in _walk(tree, module):
        if not has_prose(docstring):
            continue
        seen[name] = seen.get(name, 0) + 1
        found.append((name if seen[name] == 1 else f"{name}#{seen[name]}", docstring))
    return found


def has_prose(docstring: str) -> bool:
    """Says whether enough words stand outside of doctest lines."""
    lines = [line for line in docstring.splitlines() if not _CODE_LINE.match(line)]
    return len(_WORD.findall("\n".join(lines))) >= MIN_PROSE_WORDS


def _parse(source: bytes) -> ast.Module | None:
    gc.disable()  # a tree is millions of objects and no garbage: 20 % of the parsing time
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return None
    finally:
        gc.enable()


def _walk(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    """Yields docstrings of a scope and of the scopes in it, through `if` and `try` but no calls."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        docstring = _docstring(node.body)
        if docstring is not None:
            yield name, docstring
    for field in ("body", "orelse", "handlers", "finalbody"):
        for child in getattr(node, field, ()):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _walk(child, f"{name}.{child.name}")
            elif isinstance(child, ast.If | ast.Try | ast.ExceptHandler | ast.With):
                yield from _walk(child, name)


def _docstring(body: list[ast.stmt]) -> str | None:
    first = body[0] if body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        value = first.value.value
        return inspect.cleandoc(value) if isinstance(value, str) else None
    return None
