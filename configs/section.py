"""The base of every config section: unknown keys are refused, values never change."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A typed part of the run's config; YAML holds the values, the schema their meaning."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
