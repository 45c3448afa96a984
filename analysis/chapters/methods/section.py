"""The chapter on methods: definitions, settings, commands, hashes, versions."""

from collections.abc import Mapping
from typing import Any

from ...data.design import Design
from ...html.page import LOOK_UP, Section
from .measures import MethodsRecord as Record

GENERAL = (
    (
        "Untouched tokens",
        "Real tokens that masking left alone. Padding is never counted; masked, replaced, kept "
        "and special tokens are reported apart.",
    ),
    (
        "Share of an expert",
        "Tokens that chose it, over all tokens (chance k/E). The k choices of a token are one "
        "observation.",
    ),
    (
        "P-values",
        "Groups (authors, modules, addresses; a document without one is its own) are the unit: "
        "whole groups swap topics, P times; p = (b + 1) / (P + 1). Each group gives one share, "
        "each topic the mean and a variance of its own (Welch; W*d of Hamidi et al. 2019 in the "
        "χ² metric), so that topics may differ in length and spread; cells by studentised "
        "deviations, corrected for skewness (Hall 1992). Family-wise over layers by the largest "
        "standardised statistic, over cells (layers × experts × topics) by the largest "
        "deviation; false discovery rates by Benjamini and Hochberg. Below 10 groups per topic "
        "no p-value is given. Knock-outs and senses draw their own; whether a topic needs its "
        "own expert is a bootstrap-t.",
    ),
    (
        "Intervals",
        "95%. Topic information: all sizes of effect under which the corpus is not unusual, with "
        "the noise of resampled groups. Shares and ratios of cells: Student's on the scale of "
        "log-odds and logarithms, from the variance between groups; those of the experts named "
        "hold for all cells at once. Load: percentiles of a bootstrap of groups with Poisson(1) "
        "weights; those of MaxVio and effective experts allow for its bias. For tokens and token "
        "classes of an expert, binomial.",
    ),
)  # what several chapters use


def methods_section(record: Record, design: Design) -> Section:
    """How every number was made."""
    manifests, settings = record.manifests, record.settings
    notes = [*GENERAL, *record.definitions]
    notes += [(f"report.{name}", str(value)) for name, value in settings.items()]
    listings = [
        (
            f"{stage}: {manifest.command} · seed {manifest.seed} · result {manifest.fingerprint}",
            "\n".join(_flat(manifest.config)),
        )
        for stage, manifest in manifests.items()
    ]
    versions = next(iter(manifests.values())).versions
    notes.append(("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())))
    return Section(
        "methods",
        "Methods",
        "Definitions, settings, commands and hashes: enough to make the page again. Same input, "
        "settings and seed give the same page.",
        notes=notes,
        listings=listings,
        group=LOOK_UP,
    )


def _flat(config: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Lists a nested config as key=value lines."""
    lines = []
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            lines += _flat(value, f"{prefix}{name}.")
        elif name != "seed":
            lines.append(f"{prefix}{name}={value}")
    return lines
