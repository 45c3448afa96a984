"""Each sentence of the verdict, on planted situations."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from moescope.analysis.chapters import write_verdict
from moescope.analysis.chapters.corpus.measures import CorpusRecord
from moescope.analysis.chapters.corpus.section import corpus_section
from moescope.analysis.chapters.corpus.verdict import corpus_sentences
from moescope.analysis.chapters.knockout.verdict import knockout_sentences
from moescope.analysis.chapters.position.verdict import masked_sentences
from moescope.analysis.chapters.topics.verdict import cell_sentences
from moescope.analysis.data.audit import read_audit
from moescope.analysis.data.design import Design
from moescope.analysis.data.quality import ModelQuality
from moescope.analysis.data.run import RunData
from moescope.analysis.html.page import figure_links
from moescope.analysis.html.sentence import Sentence
from moescope.data_processors.audit_warnings import list_warnings
from moescope.data_processors.documents import SPLITS
from moescope.inference.store.reader import RoutingStore

from .runs import measure, run_of, write_run
from .stores import Planted, write_store

DESIGN = Design(("arrays", "graphs"), (0,), num_experts=4, top_k=1, alpha=0.05, permutations=999)


def planted_run(plan: Planted, folder: Path, **facts: Any) -> RunData:
    store = RoutingStore.open(write_store(folder, plan, np.random.default_rng(3)))
    return run_of(store, **facts)


def said_of(run: RunData) -> list[Sentence]:
    return write_verdict(measure(run), run.design)


def verdict_of(plan: Planted, folder: Path) -> dict[str, Sentence]:
    """Returns the first sentence of each subject."""
    first: dict[str, Sentence] = {}
    for sentence in said_of(planted_run(plan, folder)):
        first.setdefault(sentence.subject, sentence)
    return first


def test_a_strong_topic_effect_is_named_with_layer_expert_and_topic(tmp_path: Path) -> None:
    verdict = verdict_of(Planted(effect=2.5), tmp_path)
    topic, experts = verdict["topic"], verdict["experts"]
    assert topic.tone == "finding"
    assert topic.claim.startswith("Layer 2 carries topic information; it is strong")
    for part in ("160 documents", "layer 0 ", "baseline", "p\u00a0≤\u00a00.01", "4 topics"):
        assert part in topic.evidence
    assert experts.tone == "finding"
    expert, name = experts.claim.split(" is the strongest")[0], experts.claim.split("“")[1]
    planted = dict(zip(("L2·E0", "L2·E1", "L2·E2", "L2·E3"), Planted().topics, strict=True))
    assert name.startswith(planted[expert])


def test_no_effect_is_said_as_plainly(tmp_path: Path) -> None:
    verdict = verdict_of(Planted(), tmp_path)
    assert verdict["topic"].tone == "none"
    claim = "No evidence that any of the 2 MoE layers routes by topic, and what there can be is "
    assert verdict["topic"].claim.startswith(f"{claim}negligible")
    assert verdict["experts"].claim.startswith("No evidence that any expert")
    assert "baseline" in verdict["topic"].evidence
    assert "baseline" in verdict["experts"].evidence


def test_none_found_says_what_would_have_been(tmp_path: Path) -> None:
    small = Planted(documents_per_topic=12, document_noise=0.8, tokens=30)
    claim = verdict_of(small, tmp_path)["topic"].claim
    assert "would have been found in about four of five such corpora" in claim
    assert "negligible" not in claim


def test_a_mask_expert_is_a_finding_of_its_own(tmp_path: Path) -> None:
    verdict = verdict_of(Planted(mask_effect=3.0), tmp_path)
    claim = verdict["masked"].claim
    assert claim.startswith("Masked tokens have experts that they prefer in layers 0 and 2: L")
    assert "L0·E7" in verdict["masked"].evidence
    assert "untouched tokens of the same documents" in verdict["masked"].evidence
    assert verdict["topic"].tone == "none"  # masks do not pass for topics


@pytest.mark.parametrize(
    ("masked", "untouched", "name"),
    [
        ([0.86, 0.62, 0.38, 0.14], [0.41, 0.60, 0.93, 0.06], "L0·E0"),  # E3's ratio is larger
        ([1.0, 1.0, 0.0, 0.0], [0.98, 0.96, 0.03, 0.03], None),  # a collapsed layer
        ([0.80, 0.70, 0.36, 0.14], [0.82, 0.72, 0.40, 0.06], None),  # few masks, by any measure
        ([0.98, 0.50, 0.40, 0.12], [0.36, 0.60, 0.60, 0.44], "L0·E0"),  # much used by all
    ],
)
def test_a_mask_expert_takes_many_masks_and_more_than_of_other_tokens(
    masked: list[float], untouched: list[float], name: str | None
) -> None:
    frame = pd.DataFrame({"expert": range(4), "masked_share": masked, "untouched_share": untouched})
    frame["log2_ratio"] = np.log2(frame.masked_share.clip(1e-3) / frame.untouched_share)
    frame = frame.assign(layer=0, chance=0.5, low=frame.log2_ratio - 0.01, high=frame.log2_ratio)
    frame = frame.assign(masked_tokens=1000, untouched_tokens=5000, documents=100)
    (sentence,) = masked_sentences(SimpleNamespace(masked=frame), DESIGN)
    assert (sentence.tone == "finding") == (name is not None)
    assert name is None or name in sentence.claim


@pytest.mark.parametrize(("low", "tone"), [(0.3, "fact"), (-0.1, "none")])
def test_masks_that_are_routed_otherwise_without_an_expert_of_their_own(
    low: float, tone: str
) -> None:
    frame = pd.DataFrame({"expert": [0, 1], "masked_share": [0.45, 0.55]})
    frame = frame.assign(untouched_share=[0.25, 0.75], log2_ratio=[0.85, -0.45], low=[low, -0.6])
    frame = frame.assign(high=2 * frame.log2_ratio - frame.low, layer=0, chance=0.5, documents=100)
    frame = frame.assign(masked_tokens=1000, untouched_tokens=5000)
    (sentence,) = masked_sentences(SimpleNamespace(masked=frame), DESIGN)
    assert sentence.tone == tone
    assert "L0·E0 takes 45% of them and 25% of untouched tokens" in sentence.claim
    assert ("No evidence" in sentence.claim) == (tone == "none")


def test_no_mask_expert_and_nothing_masked(tmp_path: Path) -> None:
    assert verdict_of(Planted(), tmp_path / "a")["masked"].tone == "none"
    assert verdict_of(Planted(masked=0), tmp_path / "b")["masked"].claim.startswith("Nothing is")


def test_a_collapsed_router_is_a_caution_with_its_dead_experts(tmp_path: Path) -> None:
    plan = Planted(document_noise=0.0, experts=4, effect_layers=())
    run = planted_run(plan, tmp_path)
    folder = tmp_path / "collapsed"
    write_store(folder, plan, np.random.default_rng(0))
    store = RoutingStore.open(folder)
    counts = store.expert_counts.copy()
    counts[:, 0, 1:] = 0
    store = replace(store, expert_counts=counts)
    sentences = [s for s in said_of(run_of(store)) if s.subject == "load"]
    assert sentences[0].tone == sentences[1].tone == "warning"
    assert "in layer 0, the busiest expert gets 4.0 times" in sentences[0].claim
    assert "3 of 8 experts are dead" in sentences[1].claim
    assert "L0·E1, L0·E2, L0·E3" in sentences[1].evidence
    even = next(s for s in said_of(run) if s.subject == "load")
    assert even.claim.startswith("The load is even")


@pytest.mark.parametrize(("documents", "tone"), [(9, "warning"), (12, "none")])
def test_too_few_documents_get_no_test_or_a_caution(
    documents: int, tone: str, tmp_path: Path
) -> None:
    verdict = verdict_of(Planted(documents_per_topic=documents), tmp_path)
    assert verdict["topic"].tone == tone
    if documents == 9:
        assert "only 9 documents, and 10 are needed" in verdict["topic"].claim
        assert "experts" not in verdict
    else:
        assert "smallest topic has 12" in verdict["corpus"].claim


def test_one_topic_has_no_topic_question(tmp_path: Path) -> None:
    verdict = verdict_of(Planted(topics=("all",)), tmp_path)
    assert "only one topic" in verdict["topic"].claim
    assert "experts" not in verdict


def test_model_sentences(tmp_path: Path) -> None:
    run = planted_run(Planted(), tmp_path)
    good = replace(run, quality=ModelQuality(4.5, 6.0, 1000, 800, False))
    said = {sentence.subject: sentence for sentence in said_of(good)}
    assert "predicts masked tokens 1.50 nats better" in said["model"].claim
    assert "per predicted token after 800 of 1,000 training tokens" in said["model"].evidence
    poor = replace(run, quality=ModelQuality(5.9, 6.0, 1000, 1000, True))
    model = next(sentence for sentence in said_of(poor) if sentence.subject == "model")
    assert model.tone == "warning"
    assert "after 1,000 training tokens" in model.evidence


def test_a_warning_of_the_audit_leads_to_the_figure_that_shows_it(tmp_path: Path) -> None:
    topics = ["short", "long"]
    facts = {
        "topics": topics,
        "documents": {split: dict(zip(topics, (10, 500), strict=True)) for split in SPLITS},
        "sources": {topic: {"one": 1} for topic in topics},
        "largest_group_share": {"short": 0.9, "long": 0.0},
        "words": {"short": {"median": 10}, "long": {"median": 90}},
        "non_latin_share": {"short": 0.5, "long": 0.0},
        "exact_duplicates": {"across_splits": 0, "across_topics": 0},
        "near_duplicates": {"across_splits": 0, "across_topics": 0},
        "word_overlap": [[1.0, 0.99], [0.99, 1.0]],
    }
    warnings = tuple(list_warnings(facts, near_searched=False))
    config = write_run(tmp_path, Planted(documents_per_topic=30), warnings=warnings)
    audit = read_audit(config.paths.corpus / "audit.json")
    assert audit.warnings == warnings
    record = CorpusRecord(audit, near_searched=False, fewest_groups=30, grouped=True)
    said = list(corpus_sentences(record, DESIGN))
    links = figure_links([corpus_section(record, DESIGN)])
    figures = [links.get(sentence.subject) for sentence in said]
    documents, lengths, overlap = "figure-documents", "figure-lengths", "figure-overlap"
    assert figures == [documents, documents, None, lengths, None, overlap, None]
    assert said[0].claim.startswith("Long has 500 training documents and short only 10")


def test_context_sentence_says_how_much_is_vocabulary(tmp_path: Path) -> None:
    verdict = verdict_of(Planted(effect=1.5), tmp_path / "a")
    assert "In layer 2, the most topical, the topic explains" in verdict["form"].claim
    assert "tokens for the topic (4 values) and " in verdict["form"].evidence
    strong = verdict["beyond vocabulary"]
    assert strong.tone == "finding"
    assert strong.claim.startswith("Beyond vocabulary: layer 2 sends the same tokens")
    assert "of the topic information of layer 2" in strong.claim
    assert verdict_of(Planted(), tmp_path / "b")["beyond vocabulary"].tone == "none"
    few = verdict_of(Planted(documents_per_topic=9), tmp_path / "c")["beyond vocabulary"]
    assert "only 9 documents are kept token by token" in few.claim


@pytest.mark.parametrize(
    ("own", "control", "controls", "tone"),
    [
        (0.4, 0.0, 20, "finding"),
        (0.4, 0.0, 4, "fact"),  # the largest of eight is one time in eight
        (0.4, 0.5, 20, "finding"),  # controls that cost every topic as much are not specific
        (0.0, 0.0, 20, "none"),
    ],
)
def test_knock_out_sentence_follows_the_specificity(
    own: float, control: float, controls: int, tone: str, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    store = RoutingStore.open(write_store(tmp_path, Planted(documents_per_topic=15), generator))
    kinds = ["chosen"] * 4 + ["control"] * controls
    frame = pd.DataFrame(
        [
            {
                "layer": 2,
                "expert": expert,
                "kind": kind,
                "chosen_for": expert if kind == "chosen" else -1,
                "load": 0.1,
                "document": document,
                "loss_change": generator.normal(0, 0.1)
                + own * (expert == 0 and topic == 0)
                + control * (kind == "control"),
                "num_labels": 10,
            }
            for expert, kind in enumerate(kinds)
            for document, topic in zip(
                store.documents["document"], store.documents["topic_id"], strict=True
            )
        ]
    )
    run = run_of(replace(store, knockout=frame))
    record = measure(run, "knockout")["knockout"]
    assert record.knockout.controls.tolist() == [controls] * 4
    (said,) = knockout_sentences(record, run.design)
    assert said.tone == tone
    assert (
        f"{controls} control experts for the same topic (loads of 10% to 10%, that of L2·E"
        in said.evidence
    )
    topics = store.documents.set_index("document")["topic_id"]
    some = frame[frame["document"].map(topics) < 3]  # nothing of the last topic was measured
    measured = measure(run_of(replace(store, knockout=some)), "knockout")["knockout"].knockout
    assert set(measured.topic) == set(store.topics[:3])
    assert measured.drop(columns="topic").notna().all(axis=None)
    if own:
        assert said.claim.startswith("Taking away L2·E0 harms “arrays” more than other topics")
        assert ("differ less" in said.claim) == (tone == "finding")
    else:
        assert said.claim.startswith("No evidence that")


def test_a_nearly_unused_expert_is_not_the_strongest_where_another_is_found() -> None:
    cell = {"layer": 0, "topic": "arrays", "documents": 50, "tokens": 5000, "chance": 0.25}
    cell |= {"groups": 50, "q_value": 0.001}
    rare = {**cell, "expert": 1, "base_share": 0.01, "share": 0.04, "log2_ratio": 2.0}
    used = {**cell, "expert": 2, "base_share": 0.20, "share": 0.40, "log2_ratio": 1.0}
    for cells, name in (([rare, used], "L0·E2"), ([rare], "L0·E1")):
        frame = pd.DataFrame(cells).assign(p_value=0.001)
        frame["family_low"], frame["family_high"] = frame.log2_ratio - 0.2, frame.log2_ratio + 0.2
        (sentence,) = cell_sentences(SimpleNamespace(cells=frame), DESIGN)
        assert sentence.claim.startswith(f"{name} is the strongest topic expert")
