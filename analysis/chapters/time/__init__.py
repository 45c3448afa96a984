"""E15: experts through the years, and routers that are told the year."""

from ..chapter import Chapter
from .measures import measure_time
from .section import time_section
from .verdict import time_sentences

CHAPTER = Chapter(
    name="time",
    measure=measure_time,
    section=time_section,
    sentences=time_sentences,
)
