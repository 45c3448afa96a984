"""Config of the compare stage."""

from pydantic import Field

from .section import Section


class Compare(Section):
    """Several runs on one page."""

    runs: list[str] = Field(
        description="folders, names of runs, or patterns such as demo*; [] = every run in "
        "paths.runs that has a report"
    )
    permutations: int = Field(
        ge=19, le=1_000_000, description="shuffles of token types behind every routing similarity"
    )
