"""E8 to E10: experts that go together, across layers and along the text."""

from ..chapter import Chapter
from .measures import measure_paths
from .section import flow_section

CHAPTER = Chapter(
    name="paths",
    measure=measure_paths,
    section=flow_section,
)
