"""Modules of the user's own that add choices and settings: `plugins=[my_module]`.

A plugin is the user's code. It is loaded only when the command names it, never because a
checkpoint, a dataset or an earlier run does. What it registers (`moescope/registration.py`) extends
the schema here, so that its settings are checked and appear in `--help` like all others.
"""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, Union, get_args

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import MISSING, OmegaConf
from pydantic import Field, TypeAdapter, create_model
from pydantic.fields import FieldInfo

from .errors import UserError, nearest
from .schema import Config
from .section import Section

ENTRY_POINTS = "moescope.plugins"
CHOICES = ("router", "source", "masking")  # sections of which one kind is chosen by name
INPUT = "plugin "  # before a plugin's name, among a manifest's inputs
DEFAULTS = "plugin_settings"  # config group that gives further settings their defaults


@dataclass(frozen=True)
class Registration:
    """One thing that a plugin has added.

    Attributes:
        plugin: name and hash of the plugin.
        section: of the config, whose stages it may change.
        name: of the choice or setting; "" = the section's stages depend on it whatever is chosen.
    """

    plugin: tuple[str, str]
    section: str
    name: str


_registered: list[Registration] = []
_loaded: set[str] = set()
_loading: list[tuple[str, str]] = []  # (name, hash) of the plugins that are being loaded


def load_plugins(names: Any) -> None:
    """Imports plugins, each once.

    Args:
        names: an entry point of the group `moescope.plugins`, an import name, or a path that ends
            in `.py`.

    Raises:
        UserError: it is no list of names, there is no such module, or it fails.
    """
    if not isinstance(names, Sequence) or isinstance(names, str):
        raise UserError(f"plugins={names}: not a list of names, such as plugins=[my_module]")
    for name in names:
        if not isinstance(name, str) or not name:
            raise UserError(f"plugins: {name!r} is no name of a module, such as my_module")
        _load(name)


def named_plugins(arguments: Sequence[str]) -> list[str]:
    """Returns what a command line's `plugins=[…]` names.

    Raises:
        UserError: it is no list of names.
    """
    given = [text for text in arguments if text.startswith("plugins=")]
    if not given:
        return []
    try:
        (override,) = OverridesParser.create().parse_overrides(given[-1:])
        value = override.value()
    except HydraException as error:
        raise UserError(f"{given[-1]}: not a list of names, such as plugins=[my_module]") from error
    return [value] if isinstance(value, str) else value  # type: ignore[return-value]


@cache
def _load(name: str) -> None:
    path = Path(name).expanduser()
    _loaded.add(name)
    try:
        with _noted(name, path):
            if name.endswith(".py"):
                _import_file(path)
            else:
                _import_name(name)
    except UserError:
        raise
    except Exception as error:
        place = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise UserError(f"plugins=[{name}]: cannot be loaded ({place}); --debug shows where") from (
            error
        )


@contextmanager
def _noted(name: str, path: Path) -> Iterator[None]:
    """Says whose registrations those are that happen inside."""
    files = [path] if name.endswith(".py") else _files_of(name)
    if missing := [file for file in files if not file.is_file()]:
        raise UserError(f"plugins=[{name}]: {missing[0]} is no file")
    content = hashlib.blake2b(digest_size=16)
    for file in files:
        content.update(file.read_bytes())
    _loading.append((name, content.hexdigest()))
    try:
        yield
    finally:
        _loading.pop()


def _files_of(name: str) -> list[Path]:
    """The files behind an entry point or an import name: a module, or all of a package."""
    point = _entry_point(name)
    module = point.module if point else name
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        known = sorted(point.name for point in entry_points(group=ENTRY_POINTS))
        raise UserError(
            f"plugins=[{name}]: no such module{nearest(name, known)}; name an installed module, or "
            "a path that ends in .py"
        )
    folders = spec.submodule_search_locations
    if folders:
        return sorted(file for folder in folders for file in Path(folder).rglob("*.py"))
    return [Path(spec.origin)] if spec.origin else []


def _entry_point(name: str) -> Any:
    return next(iter(entry_points(group=ENTRY_POINTS, name=name)), None)


def _import_file(path: Path) -> ModuleType:
    module_name = f"moescope_plugin_{path.stem}_{digest_of(path)}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # classes of it must be found again by name
    spec.loader.exec_module(module)
    return module


def digest_of(path: Path) -> str:
    """Tells two files of one name apart."""
    return hashlib.blake2b(str(path.resolve()).encode(), digest_size=4).hexdigest()


def _import_name(name: str) -> None:
    point = _entry_point(name)
    if point is not None:
        point.load()
    else:
        importlib.import_module(name)


def note(section: str, name: str = "") -> None:
    """Remembers that the plugin being loaded changes what the stages of a section do."""
    for plugin in _loading[-1:]:
        _registered.append(Registration(plugin, section, name))


def add_choice(section: str, settings: type[Section]) -> None:
    """Adds a kind to a section of which one is chosen by name (`router=cosine`).

    Args:
        section: one of `CHOICES`.
        settings: its fields, with defaults; `name` is a `Literal`.

    Raises:
        ValueError: there is one of that name.
    """
    info = Config.model_fields[section]
    kinds = get_args(info.annotation)
    (name,) = get_args(settings.model_fields["name"].annotation)
    if any(name in get_args(kind.model_fields["name"].annotation) for kind in kinds):
        raise ValueError(f"there is a {section} named {name!r}")
    union: Any = Union.__getitem__((*kinds, settings))  # a type that is made at run time
    _replace(section, _chosen_by_name(union))
    defaults = {key: _default(field) for key, field in settings.model_fields.items()}
    ConfigStore.instance().store(group=section, name=name, node={**defaults, "name": name})
    note(section, name)


def _chosen_by_name(union: Any) -> FieldInfo:
    choice: Any = Annotated[union, Field(discriminator="name")]
    return FieldInfo.from_annotation(choice)


def add_setting(section: str, name: str, info: Any) -> None:
    """Adds a field to a section (`balance.peak`, `report.my_chapter`).

    Args:
        section: of the config; not one of `CHOICES`.
        name: of the field.
        info: (type, pydantic `Field` with a default).

    Raises:
        ValueError: there is one of that name.
    """
    old = Config.model_fields[section].annotation
    assert isinstance(old, type)
    assert issubclass(old, Section)
    if name in old.model_fields:
        raise ValueError(f"there is a setting {section}.{name}")
    fields: dict[str, Any] = {name: info}
    new = create_model(old.__name__, __base__=old, __doc__=old.__doc__, **fields)
    _replace(section, FieldInfo.from_annotation(new))
    default = new.model_fields[name].get_default(call_default_factory=True)
    if isinstance(default, Section):
        default = default.model_dump(mode="json")
    _store_defaults({section: {name: default}})
    note(section, name if section == "balance" else "")


def _replace(section: str, info: FieldInfo) -> None:
    Config.__pydantic_fields__[section] = info
    Config.model_rebuild(force=True)


def _default(info: FieldInfo) -> Any:
    return MISSING if info.is_required() else info.get_default(call_default_factory=True)


_defaults: dict[str, dict[str, Any]] = {}


def _store_defaults(values: Mapping[str, Mapping[str, Any]]) -> None:
    """Gives added settings their place in the composed config."""
    for section, own in values.items():
        _defaults.setdefault(section, {}).update(own)
    node = OmegaConf.create(_defaults)
    ConfigStore.instance().store(group=DEFAULTS, name="all", node=node, package="_global_")


def kinds_of(section: str) -> TypeAdapter[Any]:
    """Validates a section of which one kind is chosen, those of plugins among them."""
    choice: Any = Config.model_fields[section].annotation
    return TypeAdapter(Annotated[choice, Field(discriminator="name")])


def choices_of(section: str) -> dict[str, str]:
    """Names the kinds that plugins have added: name → first line of the docstring."""
    own = {entry.name for entry in _registered if entry.section == section}
    kinds = get_args(Config.model_fields[section].annotation) if section in CHOICES else ()
    named = {get_args(kind.model_fields["name"].annotation)[0]: kind for kind in kinds}
    return {n: (k.__doc__ or "").splitlines()[0] for n, k in named.items() if n in own}


def plugin_hashes(sections: Sequence[str], config: Config) -> dict[str, str]:
    """Hashes of the plugins that decide what a stage does: "plugin NAME" → hash of its file."""
    used = (entry for entry in _registered if entry.section in sections and _is_used(entry, config))
    return {f"{INPUT}{entry.plugin[0]}": entry.plugin[1] for entry in used}


def _is_used(entry: Registration, config: Config) -> bool:
    if entry.section in CHOICES:
        return bool(getattr(config, entry.section).name == entry.name)
    return not entry.name or bool(getattr(getattr(config, entry.section), entry.name))


def plugins_of(inputs: Mapping[str, str]) -> list[str]:
    """The plugins among a manifest's inputs (`plugin_hashes`)."""
    return [name.removeprefix(INPUT) for name in inputs if name.startswith(INPUT)]


def is_loaded(name: str) -> bool:
    """Whether a plugin of this name has been loaded."""
    return name in _loaded


def section_of(
    name: str,
    doc: str,
    defaults: Mapping[str, Any],
    *,
    base: type[Section] = Section,
    **fields: Any,
) -> type[Any]:
    """Makes the settings of a choice from the defaults of its parameters.

    Args:
        name: of the choice.
        doc: its sentence in `--help`.
        defaults: parameter → default; what is given must be of the default's type.
        base: class with fields that it has besides.
        fields: further fields, (type, pydantic `Field`).
    """
    own: dict[str, Any] = {
        key: (type(value) if value is not None else Any, Field(value, description=key))
        for key, value in defaults.items()
    }
    literal: Any = Literal.__getitem__(name)
    return create_model(
        f"{name.title().replace('_', '')}Settings",
        __base__=base,
        __doc__=doc,
        name=(literal, name),
        **fields,
        **own,
    )
