"""What a comparison of runs says, in sentences."""

from collections.abc import Sequence

import pandas as pd

from ..html.records import largest, rows
from ..html.sentence import Sentence, capital
from ..html.text import listing, number, percent, visible
from .matching import MIN_TYPES
from .runs import ComparedRun
from .sections import Comparison
from .seeds import ALPHA, MEASURES, same_settings
from .settings import Settings, corpora, tokenizers

LISTED = 6


def compare_verdict(comparison: Comparison) -> list[Sentence]:
    """Says what differs, what it did to topic information, form, quality and balance."""
    runs, settings = comparison.runs, comparison.settings
    sentences = [_differences(runs, settings)]
    if len(comparison.seeds):
        sentences.append(_seeds(comparison.seeds))
    for build in (_topics, _forms, _quality, _balance):
        sentences += build(comparison.measures)
    if sum(run.store is not None for run in runs) > 1:
        sentences.append(_similarity(comparison.similarity))
    sentences += _cautions(runs, settings)
    return sentences


def _differences(runs: Sequence[ComparedRun], settings: Settings) -> Sentence:
    names = list(settings.differing)
    more = [f"{len(names) - LISTED} more"] if len(names) > LISTED else []
    differ = f"differ in {listing(names[:LISTED] + more)}" if names else "have the same settings"
    data = "one corpus" if len(set(corpora(runs).values())) == 1 else "different corpora"
    words = "one tokenizer" if len(set(tokenizers(runs).values())) == 1 else "different tokenizers"
    return Sentence(
        "settings",
        "fact",
        f"{len(runs)} runs that {differ}.",
        f"Of {len(settings.frame.columns)} settings in their manifests, {len(names)} differ. The "
        f"runs have {data} and {words}.",
    )


def _seeds(frame: pd.DataFrame) -> Sentence:
    """Which measures the settings move more than seeds do."""
    sure = frame[frame.family_p_value <= ALPHA]
    unsure = frame[~frame.measure.isin(sure.measure)]
    first = rows(frame)[0]
    claim = "No evidence that the settings move anything more than seeds do."
    if first.smallest_p > ALPHA:
        claim = (
            f"Whether the settings move more than seeds do cannot be told from {first.runs} runs "
            f"of {first.settings} settings: no p could fall below {number(first.smallest_p, 2)}."
        )
    if len(sure):
        claim = f"The settings move {listing([MEASURES[name] for name in sure.measure])} more than "
        claim += "seeds do."
        if len(unsure):
            other = listing([MEASURES[name] for name in unsure.measure])
            claim = f"{claim[:-1]}; there is no evidence of it for {other}."
    details = [
        f"{MEASURES[row.measure]}: {percent(row.explained)} of the variance lies between settings "
        f"(otherwise given {percent(row.null_low)} to {percent(row.null_high)}, "
        f"p\u00a0=\u00a0{number(row.family_p_value, 2)}), standard deviation between settings "
        f"{number(row.setting_sd, 2)}, between seeds {number(row.seed_sd, 2)}"
        for row in rows(frame)
    ]
    tried = f"{first.permutations:,} ways to give the settings to the runs"
    return Sentence(
        "seeds",
        "finding" if len(sure) else "none",
        claim,
        f"{capital('; '.join(details))}. n = {first.runs} runs of {first.settings} settings; "
        f"baseline: {'all' if first.is_exact else 'a draw of'} {tried}, p family-wise over the "
        f"measures and never below {number(first.smallest_p, 2)}. Losses are over each run's own "
        "labels.",
    )


def _each(measures: pd.DataFrame, text: Sequence[str]) -> str:
    """ "run: text" for every run; of many runs, only the first few."""
    parts = [f"{visible(run)}: {x}" for run, x in zip(measures.run, text, strict=True)]
    more = len(parts) - 2 * LISTED
    tail = f"; {more} more runs in the table" if more > 0 else ""
    return "; ".join(parts[: 2 * LISTED]) + tail


def _topics(measures: pd.DataFrame) -> list[Sentence]:
    known = measures[measures.topic_share.notna()]
    if known.empty:
        return []
    sure = known[known.topic_p <= ALPHA]
    text = [
        f"layer {row.topic_layer}, {percent(row.topic_share)} ({row.band}, "
        f"p {number(row.topic_p, 2)})"
        for row in rows(known)
    ]
    beyond = (known.beyond_p <= ALPHA).sum()
    claim = f"No evidence of topic information in any of {len(known)} runs."
    if len(sure):
        which = "every run" if len(sure) == len(known) else f"{len(sure)} of {len(known)} runs"
        most, least = largest(sure, "topic_share"), rows(sure.loc[[sure.topic_share.idxmin()]])[0]
        claim = (
            f"Topic information in {which}; at its strongest {percent(most.topic_share)} "
            f"({most.band}) in {visible(most.run)}"
        )
        if len(sure) > 1:
            claim += f", {percent(least.topic_share)} ({least.band}) in {visible(least.run)}"
        claim += "."
    return [
        Sentence(
            "topic",
            "finding" if len(sure) else "none",
            claim,
            f"Share of log2 T that the experts of a run's most topical layer tell, above chance: "
            f"{_each(known, text)}. p family-wise over a run's layers; runs are not corrected for "
            f"one another. Topic beyond vocabulary: in {beyond} of {len(known)} runs.",
        )
    ]


def _forms(measures: pd.DataFrame) -> list[Sentence]:
    known = measures[measures.class_share.notna() & measures.topic_entropy_share.notna()]
    if known.empty:
        return []
    form = known[known.class_share > known.topic_entropy_share]
    which = "every run" if len(form) == len(known) else f"{len(form)} of {len(known)} runs"
    text = [
        f"topic {percent(row.topic_entropy_share)}, token class {percent(row.class_share)}, token "
        f"{percent(row.token_share)}"
        for row in rows(known)
    ]
    return [
        Sentence(
            "form",
            "fact",
            f"Form weighs more than topic in {which}: the token class explains more of the "
            "routing's entropy than the topic does."
            if len(form)
            else "In no run does the token class explain more of the routing than the topic does.",
            f"Share of the routing's entropy in a run's most topical layer: {_each(known, text)}. "
            "Baseline: shuffled documents or tokens, subtracted.",
        )
    ]


def _quality(measures: pd.DataFrame) -> list[Sentence]:
    known = measures[measures.validation_loss.notna()]
    if known.empty:
        return []
    text = [
        f"{number(row.validation_loss)} nats ({row.loss_group}), {number(row.below_unigram)} below "
        f"token frequencies, {percent(row.validation_accuracy)} right; probe "
        f"{number(row.probe_loss)} nats ({row.probe_group})"
        for row in rows(known)
    ]
    evidence = (
        f"Validation loss, how far it lies below the entropy of its labels' frequencies, share of "
        f"labels predicted, and loss on the routed documents: {_each(known, text)}. Losses of one "
        "letter are over the same labels."
    )
    if claims := _ranked(measures, "probe_loss", "probe_group") or _ranked(
        measures, "validation_loss", "loss_group"
    ):
        return [Sentence("quality", "fact", capital(claims), evidence)]
    return [
        Sentence(
            "quality",
            "warning",
            "No two runs were scored on the same labels: their losses do not rank them.",
            evidence + " Fewer masks or longer windows leave more context, and other tokens "
            "other labels; route the runs on one dataset to rank them (docs/compare.md).",
        )
    ]


def _ranked(measures: pd.DataFrame, loss: str, group: str) -> str:
    """Names the best run of every group of runs with the same labels; "" without such a group."""
    known = measures[measures[loss].notna()]
    groups = [own for _, own in known.groupby(group, sort=False) if len(own) > 1]
    claims = []
    for own in groups:
        best = rows(own.loc[[own[loss].idxmin()]])[0]
        claims.append(
            f"of the {len(own)} runs scored on {loss.partition('_')[0]} labels "
            f"{getattr(best, group)}, {visible(best.run)} predicts best "
            f"({number(getattr(best, loss))} nats)"
        )
    if not claims:
        return ""
    apart = "" if len(groups[0]) == len(known) else "; losses of different letters do not compare"
    return f"{'; '.join(claims)}{apart}."


def _balance(measures: pd.DataFrame) -> list[Sentence]:
    known = measures[measures.max_violation.notna()]
    if len(known) < 2:
        return []
    worst = largest(known, "max_violation")
    best = rows(known.loc[[known.max_violation.idxmin()]])[0]
    text = [f"{number(row.max_violation)}" for row in rows(known)]
    dead = int(known.dead_experts.sum())
    return [
        Sentence(
            "load",
            "fact",
            f"The load is most even in {visible(best.run)} and least in {visible(worst.run)}, "
            f"where the busiest expert gets {number(1 + worst.max_violation, 2)} times its share.",
            f"MaxVio of a run's least even layer: {_each(known, text)}. Baseline: 0. Dead experts "
            f"in all runs together: {dead}.",
        )
    ]


def _similarity(similarity: pd.DataFrame) -> Sentence:
    if similarity.empty:
        return Sentence(
            "similarity",
            "warning",
            "No two runs share enough token types to match their experts.",
            f"Experts are matched by the types that two runs both saw often in the documents kept "
            f"token by token (route.sample_documents), in no group half of them: {MIN_TYPES} at "
            "least.",
        )
    low, high = similarity.similarity.min(), similarity.similarity.max()
    above = similarity[similarity.p_value <= ALPHA]
    pairs = len(similarity.drop_duplicates(["first", "second"]))
    every = len(above) == len(similarity)
    alike = f"{'In every' if every else f'In {len(above)} of {len(similarity)}'} comparison"
    return Sentence(
        "similarity",
        "finding" if len(above) else "none",
        f"{alike}{'' if every else 's'} of a layer, experts of two runs can be matched better "
        "than chance: they take similar token types."
        if len(above)
        else "No evidence that the experts of any two runs take similar token types.",
        f"Correlation of matched experts' token types, mean over a layer: {number(low, 2)} to "
        f"{number(high, 2)} in {pairs} pairs of runs; types shuffled and matched anew: "
        f"{number(similarity.null_mean.min(), 2)} to {number(similarity.null_mean.max(), 2)}.",
    )


def _cautions(runs: Sequence[ComparedRun], settings: Settings) -> list[Sentence]:
    sentences = []
    if same_settings(settings).is_unique:
        sentences.append(
            Sentence(
                "seeds",
                "warning",
                "One run per setting: how much a run differs from its like with another seed is "
                "unknown.",
                f"n = {len(runs)} runs, no two with the same settings; train some again with "
                "other seeds (-m seed=0,1,2) before a difference between settings is believed.",
            )
        )
    if len({*corpora(runs).values()}) > 1:
        sentences.append(
            Sentence(
                "corpora",
                "warning",
                "The runs were trained on different corpora: their topics, words and documents "
                "differ, too.",
                capital("share a corpus between runs with paths.corpus to tell settings apart."),
            )
        )
    return sentences
