"""Composes a config inside Python: for notebooks, benchmarks and tests."""

from collections.abc import Sequence

from hydra import compose, initialize_config_module

from .load import load_config
from .memory import open_tree, parse
from .remembered import find_manifests
from .schema import Config
from .typed import take_apart


def compose_config(overrides: Sequence[str] = ()) -> Config:
    """Returns the validated config that the command line would give for these overrides.

    Raises:
        UserError: an override that does not fit the schema.
    """
    with initialize_config_module("moescope.configs", version_base="1.3"):
        return load_config(compose("moescope", list(overrides)))


def compose_found(overrides: Sequence[str] = ()) -> Config:
    """Returns the same config, its paths where the run's manifests say that the folders are."""
    with initialize_config_module("moescope.configs", version_base="1.3"):
        tree = open_tree(compose("moescope", list(overrides)))
        find_manifests(tree, take_apart(parse(overrides)))
        return load_config(tree)
