"""The base of every config section: unknown keys are refused, values never change."""

import types
from typing import Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo


class Section(BaseModel):
    """A typed part of the run's config; YAML holds the values, the schema their meaning."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def subsections(info: FieldInfo) -> list[type[Section]]:
    """Returns the section classes that a field may hold; [] for a plain value."""
    kinds = [info.annotation]
    if get_origin(info.annotation) in (Union, types.UnionType):
        kinds = list(get_args(info.annotation))
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)]


def tag(section: type[Section]) -> str | None:
    """Returns the fixed `name` that picks this section in a union."""
    info = section.model_fields.get("name")
    return str(get_args(info.annotation)[0]) if info and get_args(info.annotation) else None
