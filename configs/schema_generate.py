"""Config of `moescope generate`."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from .section import Section


class Generate(Section):
    """Which checkpoints answer a prompt, how they choose tokens, and what is shown."""

    models: list[str] = Field(
        description="checkpoints that answer, one after the other: folders, names of runs or hub "
        "names; [] = the run's own model"
    )
    max_new_tokens: int = Field(
        ge=1, le=1_000_000, description="tokens added to the prompt, at most"
    )
    temperature: float = Field(
        ge=0,
        le=1000,
        description="divides the scores before a token is drawn; 0 = the likeliest token",
    )
    top_k: int | None = Field(
        ge=1, le=10_000_000, description="draw from the k likeliest tokens; null = from all of them"
    )
    top_p: float = Field(
        gt=0, le=1, description="draw from the likeliest tokens that hold this much probability"
    )
    label: str | None = Field(
        description="the metadata value that a masked router is asked for, also given under its "
        "column's name (year=1850); null = every expert is permitted"
    )
    candidates: int = Field(ge=1, le=10_000, description="tokens offered per [MASK] (encoders)")
    layer: int | None = Field(
        ge=0,
        le=10_000,
        description="layer whose experts are shown, counted from 0; null = the last with any",
    )
    show: Literal["auto", "colours", "table", "text"] = Field(
        description="the experts as colours or as a table, or only the text; auto = colours on a "
        "terminal, else the table"
    )
    json_path: Path | None = Field(
        description="file that gets the answers with all layers' experts, one JSON object per "
        "prompt and line"
    )
