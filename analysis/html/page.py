"""The page: places verdict, figures and tables in one self-contained HTML file."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from .sentence import Sentence
from .text import number, visible
from .theme import PALETTE

SHOWN_ROWS = 60
SCRIPTS = ("page.js", "search.js", "examples.js")
ALL_LAYERS = ""  # the view of a panel that is the same for every layer
MODEL, EXPERTS, HOW = "The model", "What experts go by", "How experts work"  # groups of chapters
OVER_TIME, LOOK_UP = "Over time", "To look up"


@dataclass(frozen=True)
class Panel:
    """A figure with what a reader needs to judge it.

    Attributes:
        name: id of the figure in the page and stem of its CSV file.
        title: what it shows.
        reading: how to read it, in a sentence.
        facts: n, unit and baseline.
        views: layer (as text) → figure, or `ALL_LAYERS` → the one figure.
        table: every number of the figure; all of it becomes the CSV file.
        shown: the rows that the page shows; None = the first of `table`.
        by_topic: whether the topic filter works on it.
        subject: of the sentences that send a reader to this figure; "" = of none.
        is_main: whether it stands in the run's Aim page, too.
        height: pixels kept free for the figure.
    """

    name: str
    title: str
    reading: str
    facts: str
    views: Mapping[str, go.Figure]
    table: pd.DataFrame
    shown: pd.DataFrame | None = None
    by_topic: bool = False
    subject: str = ""
    is_main: bool = False

    @property
    def by_layer(self) -> bool:
        return ALL_LAYERS not in self.views

    @property
    def height(self) -> int:
        return max(int(view.layout.height) for view in self.views.values())


@dataclass(frozen=True)
class ExpertCard:
    """The tokens an expert is most enriched for: (token, explanation)."""

    name: str
    tokens: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ProfileLine:
    """One kind of knowledge of an expert: (what, how much); `code` = what is a token."""

    term: str
    items: Sequence[tuple[str, str]]
    code: bool = False


@dataclass(frozen=True)
class ExpertProfile:
    """What is known of an expert.

    Attributes:
        layer: number of its layer.
        expert: its number in the layer.
        name: both, for people.
        load_over_even: its load over an even share, at most 2.
        lines: its card.
    """

    layer: int
    expert: int
    name: str
    load_over_even: float
    lines: Sequence[ProfileLine]


@dataclass(frozen=True)
class Section:
    """A chapter of the page.

    Attributes:
        name: anchor.
        title: heading.
        lead: one or two sentences before the figures.
        panels: its figures.
        cards: layer → the tokens of each expert.
        profiles: layer → all that is known of each expert.
        viewer: documents for the token viewer (`chapters.examples.section.viewer_data`).
        notes: warnings or definitions, (term, text).
        listings: long plain text, (summary, text), closed until asked for.
        group: heading in the table of contents, shared by neighbouring chapters.
        search: for the search box: token → (layer, expert) that it goes to, the surest first.
        tables: further CSV files: stem → frame.
    """

    name: str
    title: str
    lead: str
    panels: Sequence[Panel] = ()
    cards: Mapping[int, Sequence[ExpertCard]] = field(default_factory=dict)
    profiles: Mapping[int, Sequence[ExpertProfile]] = field(default_factory=dict)
    viewer: Mapping[str, Any] | None = None
    notes: Sequence[tuple[str, str]] = ()
    listings: Sequence[tuple[str, str]] = ()
    group: str = EXPERTS
    search: Mapping[str, Sequence[tuple[int, int]]] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """Everything on the page.

    Attributes:
        title: the run's name.
        subtitle: what was analysed, in a line.
        verdict: its sentences.
        overview: one row per layer.
        sections: the chapters after the verdict.
        topics: topic names in the order of the figures.
        layers: layer numbers.
        num_experts: experts per layer.
    """

    title: str
    subtitle: str
    verdict: Sequence[Sentence]
    overview: pd.DataFrame
    sections: Sequence[Section]
    topics: Sequence[str]
    layers: Sequence[int]
    num_experts: int

    @property
    def chapters(self) -> list[tuple[str, list[Section]]]:
        """Groups neighbouring chapters under their heading."""
        groups = groupby(self.sections, key=lambda section: section.group)
        return [(name, list(own)) for name, own in groups]

    @property
    def search(self) -> dict[str, Sequence[tuple[int, int]]]:
        """Tokens that the search box knows."""
        return {token: places for s in self.sections for token, places in s.search.items()}


def render(page: Page) -> str:
    """Renders the page: no request leaves it, and no script but its own two runs."""
    search = {
        "experts": page.num_experts,
        "topics": [visible(topic) for topic in page.topics],
        "tokens": [[visible(token, 40), *places] for token, places in page.search.items()],
        "viewer": next((s.viewer for s in page.sections if s.viewer is not None), None),
    }
    links = figure_links(page.sections)
    search["topic_figure"] = links.get("experts")  # where an address that names a topic leads
    figures = figures_json(page.sections, page.layers, search)
    return render_template(
        "page.html.j2", SCRIPTS, figures, page=page, palette=PALETTE, figure_of=links
    )


def figure_links(sections: Sequence[Section]) -> dict[str, str]:
    """Returns subject → id in the page of the first figure of that subject."""
    panels = [panel for section in sections for panel in section.panels if panel.subject]
    return {panel.subject: f"figure-{panel.name}" for panel in reversed(panels)}


def views_by_layer(
    frame: pd.DataFrame, draw: Callable[[pd.DataFrame], go.Figure]
) -> dict[str, go.Figure]:
    """Draws one figure for each layer of a frame: layer (as text) → figure."""
    return {str(layer): draw(own) for layer, own in frame.groupby("layer", sort=False)}


def render_template(template: str, scripts: Sequence[str], figures: str, **values: Any) -> str:
    """Renders a page around its figures, with plotly and the scripts inlined and named in its CSP.

    Args:
        template: file in `templates/`.
        scripts: files in `templates/`, run in this order after plotly.
        figures: `figures_json`.
        values: what else the template places.
    """
    environment = Environment(
        loader=PackageLoader("moescope.analysis.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"visible": visible, "cell": cell_text}
    loader = environment.loader
    assert loader is not None
    inlined = [get_plotlyjs(), *(loader.get_source(environment, name)[0] for name in scripts)]
    return environment.get_template(template).render(
        shown_rows=SHOWN_ROWS,
        style=Markup(loader.get_source(environment, "page.css")[0]),
        scripts=[Markup(script) for script in inlined],
        script_hashes=[_csp_hash(script) for script in inlined],
        figures=Markup(figures),
        **values,
    )


def cell_text(value: Any) -> str:
    """Formats a table cell."""
    if isinstance(value, float):
        return number(value, 4)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return visible(str(value))


def _csp_hash(script: str) -> str:
    """Names a script in a Content-Security-Policy: only scripts with these bytes run."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def figures_json(
    sections: Sequence[Section], layers: Sequence[int], more: Mapping[str, Any] | None = None
) -> str:
    """Puts all figures, and more for the scripts, into JSON for a script element."""
    panels = {
        panel.name: {
            layer: {"data": shape["data"], "layout": shape["layout"]}
            for layer, view in panel.views.items()
            for shape in [view.to_plotly_json()]
        }
        for section in sections
        for panel in section.panels
    }
    content = {"panels": panels, "layers": [str(layer) for layer in layers], **(more or {})}
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode("utf-8", "replace").decode()
