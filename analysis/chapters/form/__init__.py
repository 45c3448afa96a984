"""E7: topic, token class and token, side by side."""

from ..chapter import Chapter
from .measures import forms_by_layer, measure_form
from .section import form_section
from .verdict import form_sentences

CHAPTER = Chapter(
    name="form",
    measure=measure_form,
    section=form_section,
    sentences=form_sentences,
    uses={"information": "topics.information"},
    by_layer=forms_by_layer,
)
