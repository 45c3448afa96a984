"""The chapter on methods: definitions, settings, commands, hashes, versions."""

from collections.abc import Mapping
from typing import Any

from ...data.design import Design
from ...html.page import LOOK_UP, Section
from .measures import MethodsRecord as Record

DEFINITIONS = (
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
        "Topic information",
        "I = H(mean over t of p(e|t)) − mean over t of H(p(e|t)), in bits, topics weighted "
        "equally; plug-in minus the mean under permutation.",
    ),
    (
        "Topic beyond vocabulary",
        "R = choices of a document minus what its token types expect, each type as routed in all "
        "other documents (one token of the layer's load added); Σ over topics and experts of "
        "(Σ R)² / Σ expected, under the same permutations.",
    ),
    (
        "P-values",
        "Documents are the unit: whole documents swap topics, P times; p = (b + 1) / (P + 1). "
        "Every chapter draws its own. Whether a topic needs its own expert is a bootstrap-t over "
        "its documents. Family-wise over layers by the largest "
        " standardised information, over cells (layers × experts × topics) by the largest "
        "studentised deviation. Below 10 documents per topic no p-value is given.",
    ),
    (
        "Intervals",
        "95% percentile intervals of a document bootstrap with Poisson(1) weights, over origins "
        "for time. Resampling adds bias of its own to topic information, whose draws are centred "
        "on the estimate (and may reach below 0), and to MaxVio and effective experts, whose "
        "intervals allow for it. For tokens and token classes of an expert, binomial.",
    ),
    (
        "Log2 ratio",
        "Topic's share of choices over the mean of all topics, half a choice added to every cell.",
    ),
)


def methods_section(record: Record, design: Design) -> Section:
    """How every number was made."""
    manifests, settings = record.manifests, record.settings
    notes = list(DEFINITIONS)
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
