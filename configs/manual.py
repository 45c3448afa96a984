"""`--help` of a stage, written from the schema: every parameter, its meaning, default, choices."""

import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from pydantic import ByteSize
from pydantic.fields import FieldInfo
from rich.console import Console

from .defaults import default_values
from .plugins import choices_of
from .schema import Config
from .section import subsections, tag

if TYPE_CHECKING:
    from .stage import Stage

GENERAL = ("name", "seed", "plugins", "force", "paths")


def print_stage_help(stages: "Sequence[Stage]", program: str) -> None:
    """Prints the stages' summary, their parameters, and how to override them."""
    sections = dict.fromkeys(
        name for stage in stages for name in (*stage.sections, *stage.side_sections)
    )
    summary = "; ".join(stage.summary for stage in stages)
    print_help(
        f"{program} [KEY=VALUE ...]",
        f"{summary}\n\n"
        "Override any value below as KEY=VALUE; GROUP=CHOICE picks a preset. -m sweeps "
        "(KEY=A,B,C).\n"
        "A run remembers: what is not typed is as in its earlier commands. The later wins: "
        "defaults,\nwhat the run says, a preset that is named, single values; experiment=NAME "
        "starts from the\nexperiment instead (docs/runs.md). --yes allows changes that redo what "
        "took long.\n"
        "route --plan says what recording will read, hold and take, and runs nothing.\n"
        "--cfg job prints the composed config, --debug shows tracebacks, "
        "--config-dir DIR adds your own presets.\n",
        ("experiment",),
        (*sections, *GENERAL),
    )


def print_help(usage: str, teaching: str, groups: Sequence[str], sections: Sequence[str]) -> None:
    """Prints a command's usage, what it does, the presets of config groups, and its parameters."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(usage, end="   ", markup=False, style="bold")
    console.print(teaching, markup=False)
    for group in groups:
        _print_presets(console, group)
    defaults = default_values()
    for name in sections:
        _print_section(console, name, Config.model_fields[name], defaults.get(name))


def _print_section(console: Console, name: str, info: FieldInfo, default: Any) -> None:
    _print_presets(console, name)
    for path, value, kind, meaning in _rows(name, info, default):
        if kind:
            console.print(
                f"  {path} = {value}" if value else f"  {path}", f"  [{kind}]", markup=False
            )
            console.print(f"      {meaning}", markup=False)
        else:
            console.print(f"  {path}: {meaning}", markup=False, style="bold")
    console.print()


def _print_presets(console: Console, group: str) -> None:
    presets = sorted((Path(__file__).parent / group).glob("*.yaml"))
    if presets:
        console.print(f"[bold]{group}=[/bold] one of these presets:")
    for preset in presets:
        console.print(f"  {preset.stem:<18} {preset_comment(preset)}", markup=False)
    for name, meaning in choices_of(group).items():
        console.print(f"  {name:<18} {meaning} (plugin)", markup=False)


def preset_comment(path: Path) -> str:
    """Returns the sentence that a preset's file opens with."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(line.lstrip("# ") for line in lines if not line.startswith("# @package"))


def _rows(path: str, info: FieldInfo, default: Any) -> Iterator[tuple[str, str, str, str]]:
    kinds = subsections(info)
    if not kinds:
        yield path, _shown(default), accepts(info), info.description or ""
    for kind in kinds:
        chosen = len(kinds) == 1 or (isinstance(default, dict) and default.get("name") == tag(kind))
        if len(kinds) > 1:
            yield f"{path}={tag(kind)}", "", "", (kind.__doc__ or "").splitlines()[0]
        for key, field in kind.model_fields.items():
            if key == "name" and len(kinds) > 1:
                continue
            value = default.get(key) if chosen and isinstance(default, dict) else ""
            yield from _rows(f"{path}.{key}", field, value)


def accepts(info: FieldInfo) -> str:
    """Says what a field takes, e.g. "integer, 1 to 64" or "a | b | null"."""
    words = _type_words(info.annotation)
    limits = {type(item).__name__: item for item in info.metadata}
    signs = (("Ge", "ge", "≥"), ("Gt", "gt", ">"), ("Le", "le", "≤"), ("Lt", "lt", "<"))
    ranges = [
        f"{sign} {getattr(limits[kind], attribute)}"
        for kind, attribute, sign in signs
        if kind in limits
    ]
    return ", ".join([words, *ranges])


def _type_words(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(str(argument) for argument in arguments)
    if origin in (Union, types.UnionType):
        return " | ".join(_type_words(argument) for argument in arguments)
    if origin is list:
        return f"list of {_type_words(arguments[0])}"
    if origin is dict:
        return f"map {_type_words(arguments[0])} → {_type_words(arguments[1])}"
    names = {
        ByteSize: "size (8GB)",
        int: "integer",
        float: "number",
        str: "text",
        bool: "true | false",
        Path: "path",
    }
    return "null" if annotation is type(None) else names.get(annotation, str(annotation))


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
