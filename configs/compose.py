"""Composes a config inside Python: for notebooks, benchmarks and tests."""

from collections.abc import Sequence

from hydra import compose, initialize_config_module

from .load import load_config
from .schema import Config


def compose_config(overrides: Sequence[str] = ()) -> Config:
    """Returns the validated config that the command line would give for these overrides.

    Raises:
        UserError: an override that does not fit the schema.
    """
    with initialize_config_module("moescope.configs", version_base="1.3"):
        return load_config(compose("moescope", list(overrides)))
