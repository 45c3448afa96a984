"""What a plugin adds, each by one call or decorator (docs/extending.md has an example of each).

A plugin is a module that the user names: `plugins=[my_module]`, or a path to a `.py`. While it is
loaded, these functions put its parts into the tables of the package and its settings into the
schema.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
from pydantic import Field

from .analysis.chapters import CHAPTERS
from .analysis.chapters.chapter import Chapter
from .configs.compose import compose_config
from .configs.plugins import add_choice, add_setting, note, section_of
from .configs.schema_dataset import MaskingShares
from .configs.section import Section
from .data_processors.documents import Document, Wanted
from .data_processors.masking import STRATEGIES, Strategy
from .data_processors.sources.registry import SOURCES, SourceReader
from .inference.recording.token_classes import add_token_class
from .model import BALANCE_LOSSES, ROUTERS, Router
from .model.balance import BalanceLoss

Reader = Callable[[Any, Wanted, np.random.Generator], Iterator[Document]]
RouterClass = TypeVar("RouterClass", bound=type[Router])
TOP_K = (int, Field(2, ge=1, description="experts per token"))


def register_router(
    name: str, settings: type[Section] | None = None
) -> Callable[[RouterClass], RouterClass]:
    """Registers a router: `router=NAME`.

    Args:
        name: in the config.
        settings: its fields in the config, `name` and `top_k` among them; None = `top_k` and the
            class's `parameters_with_defaults`, each of its default's type.

    Raises:
        ValueError: there is a router of that name.
    """

    def register(router: RouterClass) -> RouterClass:
        fields = router.parameters_with_defaults
        add_choice("router", settings or section_of(name, first_line(router), fields, top_k=TOP_K))
        ROUTERS[name] = router
        return router

    return register


def register_balance_loss(name: str) -> Callable[[BalanceLoss], BalanceLoss]:
    """Registers a balance loss, a function of one layer's `LayerStatistics`: `balance.NAME`.

    Raises:
        ValueError: there is a balance loss of that name.
    """

    def register(loss: BalanceLoss) -> BalanceLoss:
        add_setting("balance", name, (float, Field(0.0, ge=0, description=first_line(loss))))
        BALANCE_LOSSES[name] = loss
        return loss

    return register


def register_source(
    name: str,
    settings: type[Section] | None = None,
    fingerprint: Callable[[Any], Mapping[str, str]] = lambda source: {},
) -> Callable[[Reader], Reader]:
    """Registers a source, a function that yields documents: `source=NAME`.

    Args:
        name: in the config.
        settings: its fields in the config, `name` among them; None = it has none.
        fingerprint: of the settings: what decides the texts besides them, such as hashes of files;
            the corpus is built anew when it changes.

    Raises:
        ValueError: there is a source of that name.
    """

    def register(read: Reader) -> Reader:
        add_choice("source", settings or section_of(name, first_line(read), {}))
        SOURCES[name] = SourceReader(read, fingerprint)
        return read

    return register


def register_masking(
    name: str, settings: type[MaskingShares] | None = None
) -> Callable[[Strategy], Strategy]:
    """Registers a masking strategy, which says at which tokens a unit begins: `masking=NAME`.

    The tokens of a unit are selected together; one begins at every start of a text anyhow.

    Args:
        name: in the config.
        settings: its fields in the config, a `MaskingShares` with `name`; None = those shares.

    Raises:
        ValueError: there is a masking strategy of that name.
    """

    def register(strategy: Strategy) -> Strategy:
        made = section_of(name, first_line(strategy), {}, base=MaskingShares, **usual_shares())
        add_choice("masking", settings or made)
        # no unit reaches over special tokens or into another example
        STRATEGIES[name] = lambda content, own: strategy(content, own) | content.block_starts
        return strategy

    return register


def register_token_class(
    name: str, before: str = "digits"
) -> Callable[[Callable[[str], bool]], Callable[[str], bool]]:
    """Registers a class of tokens, a function that tells from a token's text whether it belongs.

    Args:
        name: of the class.
        before: the class that is asked after it: a token has the first class that fits.

    Raises:
        ValueError: there is a class of that name, or none named `before`.
    """

    def register(fits: Callable[[str], bool]) -> Callable[[str], bool]:
        add_token_class(name, fits, before)
        note("route")
        return fits

    return register


def register_chapter(
    chapter: Chapter, settings: type[Section] | None = None, before: str = "experts"
) -> Chapter:
    """Registers a chapter of the report.

    Args:
        chapter: what it computes, shows and says.
        settings: its settings, with defaults: `report.NAME.…`, `run.settings.NAME` in `measure`.
        before: the chapter that follows it on the page.

    Raises:
        ValueError: there is a chapter of that name, or none named `before`.
    """
    names = [other.name for other in CHAPTERS]
    if chapter.name in names:
        raise ValueError(f"there is a chapter named {chapter.name!r}")
    if before not in names:
        raise ValueError(f"no chapter is named {before!r}; there are {', '.join(names)}")
    if settings is not None:
        add_setting("report", chapter.name, (settings, Field(default_factory=settings)))
    CHAPTERS.insert(names.index(before), chapter)
    note("report")
    return chapter


def usual_shares() -> dict[str, Any]:
    """The fields of `MaskingShares` with the defaults of `masking=token`."""
    values = compose_config(["masking=token"]).masking.model_dump(exclude={"name"})
    return {
        name: (info.annotation, Field(values[name], description=info.description))
        for name, info in MaskingShares.model_fields.items()
    }


def first_line(part: Any) -> str:
    """The sentence that a docstring opens with."""
    return (part.__doc__ or "no docstring").strip().splitlines()[0]
