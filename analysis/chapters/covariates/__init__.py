"""E7, covariates: what else than the topic the routing may go by."""

from ..chapter import Chapter
from .measures import measure_covariates
from .section import covariates_section
from .verdict import covariate_sentences

CHAPTER = Chapter(
    name="covariates",
    measure=measure_covariates,
    section=covariates_section,
    sentences=covariate_sentences,
    uses={"forms": "form.forms"},
)
