"""The route stage end to end, against a slow twin that runs one example at a time."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from datasets import load_from_disk
from torch.nn import functional as F
from transformers import AutoTokenizer, OlmoeConfig, OlmoeForCausalLM

from moescope.configs.compose import compose_config
from moescope.configs.errors import UserError
from moescope.configs.schema import Config
from moescope.configs.stage import execute
from moescope.configs.stages import ROUTE
from moescope.inference.experiments.knockout import without_expert
from moescope.model import MoescopeForMaskedLM

from .runs import EXPERTS, SIZES, TOP_K, encoder, make_config, route, save


@torch.no_grad()
def slow_twin(network: MoescopeForMaskedLM, config: Config) -> tuple[Counter, Counter, dict]:
    """Runs each example alone, without padding; counts token by token.

    Returns:
        (document, mask_kind, layer, expert) → choices, (document, mask_kind) → tokens,
        document → list of label losses.
    """
    choices, tokens = Counter(), Counter()
    losses: dict[int, list[float]] = {}
    for row in load_from_disk(str(config.paths.dataset / "probe")):
        segments = row.get("segment_ids") or [0] * row["length"]
        positions = [i - segments.index(s) for i, s in enumerate(segments)]
        output = network(
            input_ids=torch.tensor([row["corrupted_ids"]]),
            segment_ids=torch.tensor([segments]) if "segment_ids" in row else None,
            position_ids=torch.tensor([positions]),
            output_routing=True,
        )
        for i, (segment, mask_kind) in enumerate(zip(segments, row["mask_kind"], strict=True)):
            document = row["documents"][segment]
            tokens[document, mask_kind] += 1
            for layer, routing in enumerate(output.routing):
                for expert in routing.expert_ids[i].tolist():
                    choices[document, mask_kind, layer, expert] += 1
            if mask_kind in (1, 2, 3):
                target = torch.tensor(row["input_ids"][i])
                losses.setdefault(document, []).append(
                    F.cross_entropy(output.logits[0, i], target).item()
                )
    return choices, tokens, losses


def test_store_equals_a_slow_twin(dataset: Config, tmp_path: Path, small_chunks: None) -> None:
    network = encoder(400)
    manifest, store = route(dataset, save(network, dataset, tmp_path))
    choices, tokens, losses = slow_twin(network, dataset)
    documents = store.documents
    assert store.layers == [1, 2], "the dense first layer has no experts"
    assert (store.num_experts, store.top_k) == (EXPERTS, TOP_K)
    assert documents["document"].tolist() == sorted({document for document, _ in tokens})
    assert store.facts.num_tokens == manifest.counts["num_tokens"] == sum(tokens.values())

    listed = pq.read_table(dataset.paths.dataset / "documents-probe.parquet").to_pandas()
    for name in ("source", "group"):
        assert documents[name].tolist() == listed[name].tolist()
    topic_of = dict(zip(documents["document"], documents["topic_id"], strict=True))
    table = np.zeros_like(store.tables["topic_mask_kind_expert"])
    by_document = {0: np.zeros_like(store.expert_counts), 1: np.zeros_like(store.expert_counts)}
    for (document, mask_kind, layer, expert), count in choices.items():
        table[topic_of[document], mask_kind, layer, expert] += count
        if mask_kind in by_document:
            by_document[mask_kind][document, layer, expert] += count
    total = np.zeros_like(store.tables["topic_mask_kind_tokens"])
    for (document, mask_kind), count in tokens.items():
        total[topic_of[document], mask_kind] += count
    assert np.array_equal(store.tables["topic_mask_kind_tokens"], total)
    # other batch shapes round differently: a choice on the edge may fall the other way
    assert np.abs(store.tables["topic_mask_kind_expert"] - table).sum() <= 4
    assert np.abs(store.expert_counts - by_document[0]).sum() <= 4
    assert np.abs(store.masked_expert_counts - by_document[1]).sum() <= 4
    for row in documents.itertuples():
        assert row.num_untouched == tokens[row.document, 0]
        assert row.num_masked == tokens[row.document, 1]
        assert row.num_labels == len(losses.get(row.document, []))
        if row.num_labels:
            assert row.loss == pytest.approx(np.mean(losses[row.document]), rel=1e-3)


def test_where_experts_choose_their_tokens_k_is_the_mean(dataset: Config, tmp_path: Path) -> None:
    network = encoder(400, router={"name": "expert_choice"})
    _, store = route(dataset, save(network, dataset, tmp_path))
    tokens = store.tables["topic_mask_kind_tokens"].sum()
    per_token = store.tables["topic_mask_kind_expert"].sum((0, 1, 3)) / tokens
    assert store.top_k == TOP_K == pytest.approx(per_token.mean(), abs=0.4)
    assert not store.tables["dropped"].any()
    chosen, weights = store.sample_experts, store.sample_weights
    assert chosen.shape[2] == EXPERTS
    assert (np.diff((chosen == EXPERTS).astype(int), axis=2) >= 0).all(), "empty slots are last"
    assert (np.diff(weights, axis=2) <= 0).all(), "the first choice comes first"
    assert len(np.unique(chosen[:, 0, 0])) > 2, "which is not always the first expert"


def test_a_capacity_outside_of_training_leaves_drops_in_the_store(
    dataset: Config, tmp_path: Path
) -> None:
    config = compose_config(["router=switch", "router.eval_capacity_factor=0.5"])
    router = config.router.model_dump()
    network = encoder(400, num_experts_per_tok=router.pop("top_k"), router=router)
    _, store = route(dataset, save(network, dataset, tmp_path))
    chosen = store.tables["topic_mask_kind_expert"].sum((0, 1, 3))
    assert (store.tables["dropped"] > 0.2 * store.facts.num_tokens).all()
    assert (chosen + store.tables["dropped"] == store.facts.num_tokens).all()


def test_parts_of_the_store_agree(dataset: Config, tmp_path: Path) -> None:
    _, store = route(dataset, save(encoder(400), dataset, tmp_path), "route.max_types=50")
    tables = store.tables
    untouched = tables["topic_mask_kind_expert"][:, 0].sum(0)
    assert np.array_equal(tables["type_expert"].sum(0), untouched)
    assert np.array_equal(np.diagonal(tables["coactivation"], axis1=1, axis2=2), untouched)
    masked = tables["topic_mask_kind_expert"][:, 1].sum(0)
    assert np.array_equal(tables["target_expert"].sum(0), masked)
    special = tables["topic_mask_kind_expert"][:, 4].sum(0)
    assert np.array_equal(tables["class_expert"].sum(0), untouched + masked + special)
    mask_kinds = np.array([mask_kind for mask_kind, _ in store.facts.places])
    for name, total in {"untouched": untouched, "masked": masked, "special": special}.items():
        assert np.array_equal(tables["place_expert"][mask_kinds == name].sum(0), total), name
    assert [place for _, place in store.facts.places][:4] == ["0–4", "5–9", "10–14", "15–19"]
    opened = tables["place_tokens"][store.facts.places.index(("special", "[CLS]"))]
    assert opened == tables["place_tokens"][store.facts.places.index(("special", "[SEP]"))]
    assert opened > 0
    mask_class = store.facts.token_classes.index("mask")
    assert np.array_equal(tables["class_expert"][mask_class], masked)
    tokens = tables["topic_mask_kind_tokens"].sum(0)
    assert tables["transition"].sum() == tokens[0] * (len(store.layers) - 1)
    assert np.array_equal(tables["topic_mask_kind_expert"].sum((0, 2, 3)), tokens * 2 * TOP_K)
    natural = tables["place_entropy"].sum(0)
    entropy = tables["topic_mask_kind_entropy"].sum(0)
    assert np.allclose(natural, entropy[[0, 1, 4]].sum(0))
    mean_entropy = entropy / tokens[:, None]
    assert (mean_entropy > 0).all()
    assert (mean_entropy <= np.log(EXPERTS)).all()
    assert len(store.facts.types) == 50
    assert tables["type_tokens"][-1] > 0
    assert (np.diff(tables["type_tokens"][:20]) <= 12).all(), "frequent types come first"


def test_the_sample_holds_whole_documents(dataset: Config, tmp_path: Path) -> None:
    _, store = route(dataset, save(encoder(400), dataset, tmp_path))
    ids = store.sample["document"].unique()
    documents = store.documents.set_index("document")
    assert documents.loc[ids].groupby("topic").size().tolist() == [2, 2, 2]
    for document, rows in store.sample.groupby("document"):
        assert rows["position"].tolist() == list(range(len(rows)))
        facts = documents.loc[document]
        assert (rows["mask_kind"] != 4).sum() == facts["num_tokens"]
        assert rows["loss"].notna().sum() == facts["num_labels"]
        assert rows["loss"].mean() == pytest.approx(facts["loss"], rel=1e-4)
        assert rows["predicted_id"].notna().equals(rows["loss"].notna())
        counted = np.zeros((2, EXPERTS), dtype=int)
        for token in store.sample_experts[rows.index[rows["mask_kind"] == 0]]:
            for layer in range(2):
                counted[layer, token[layer]] += 1
        assert np.array_equal(counted, store.expert_counts[document])
    text = pq.read_table(dataset.paths.corpus / "probe-00000-of-00001.parquet").to_pylist()
    if dataset.dataset.packing == "none":
        tokenizer = AutoTokenizer.from_pretrained(dataset.paths.dataset / "tokenizer")
        rows = store.sample[(store.sample["document"] == ids[0]) & (store.sample["mask_kind"] != 4)]
        assert tokenizer.decode(rows["token_id"].tolist()) == text[ids[0]]["text"]


def test_the_example_of_the_docs_runs(
    dataset: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, store = route(dataset, save(encoder(400), dataset, tmp_path))
    page = (Path(__file__).parents[2] / "docs" / "routing_store.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    assert "runs/demo/routing" in code
    exec(code.replace("runs/demo/routing", str(store.folder)), {})
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == store.topics


def test_the_same_run_gives_the_same_bytes(dataset: Config, tmp_path: Path) -> None:
    model = save(encoder(400), dataset, tmp_path)
    first, _ = route(dataset, model, "force=true")
    second, _ = route(dataset, model, "force=true")
    assert first.files == second.files


def test_knock_outs_are_measured_on_whole_documents(dataset: Config, tmp_path: Path) -> None:
    network = encoder(400)
    model = save(network, dataset, tmp_path)
    manifest, store = route(dataset, model, "route.knockout=top", "route.knockout_documents=4")
    knockout = store.knockout
    assert set(knockout["layer"]) <= {1, 2}, "numbers of the model's layers"
    assert set(knockout.loc[knockout["kind"] == "chosen", "chosen_for"]) == {0, 1, 2}
    assert (knockout.loc[knockout["kind"] == "control", "chosen_for"] == -1).all()
    documents = store.documents.set_index("document")
    measured = knockout["document"].unique()
    assert (documents.loc[measured].groupby("topic").size() <= 4).all()
    assert (
        documents.loc[knockout["document"], "num_labels"].to_numpy() == knockout["num_labels"]
    ).all()
    first = knockout.iloc[0]
    gate = network.model.layers[first["layer"]].mlp.gate
    with without_expert(gate, first["expert"]):
        _, _, losses = slow_twin(network, dataset)
    for row in knockout[: len(measured)].itertuples():
        before = documents.loc[row.document, "loss"]
        assert before + row.loss_change == pytest.approx(np.mean(losses[row.document]), rel=2e-3)
    again, _ = route(
        dataset, model, "route.knockout=top", "route.knockout_documents=4", "force=true"
    )
    assert again.files == manifest.files
    _, none = route(dataset, model)
    assert none.facts.knockout == "none"
    assert none.knockout.empty


def test_a_foreign_causal_model_sees_the_text_without_masks(
    dataset: Config, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    olmoe = OlmoeConfig(vocab_size=400, num_experts=EXPERTS, **SIZES)
    network = OlmoeForCausalLM(olmoe).eval()
    model = save(network, dataset, tmp_path)
    if dataset.dataset.packing == "documents":
        with pytest.raises(UserError, match="packing"):
            route(dataset, model)
        return
    _, store = route(dataset, model, "route.knockout=top")
    assert store.facts.knockout == "none", "its routers are not ours"
    assert store.layers == [0, 1, 2]
    assert np.isnan(store.tables["topic_mask_kind_entropy"]).all()
    assert (store.tables["topic_mask_kind_expert"][:, 1:4] == 0).all()
    assert (store.sample["token_id"] == store.sample["input_id"]).all()
    row = load_from_disk(str(dataset.paths.dataset / "probe"))[0]
    windows = [
        r["input_ids"]
        for r in load_from_disk(str(dataset.paths.dataset / "probe"))
        if r["documents"] == row["documents"]
    ]
    losses = []
    for ids in windows:
        tokens = torch.tensor([ids])
        with torch.no_grad():
            logits = network(tokens).logits
        # every content token after the window's first has a loss; the closing [SEP] has none
        losses.append(F.cross_entropy(logits[0, :-2], tokens[0, 1:-1], reduction="none"))
    asked: Counter = Counter()
    for example in load_from_disk(str(dataset.paths.dataset / "probe")):
        asked.update(example["input_ids"][2:-1])  # the first content token follows [CLS]
    assert store.facts.target == "next"
    types = [asked[token_id] for token_id in store.facts.types]
    assert store.tables["target_tokens"][:-1].tolist() == types
    document = store.documents.iloc[0]
    assert document["loss"] == pytest.approx(torch.cat(losses).mean().item(), rel=1e-4)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("nowhere", "no such folder"),
        ("dense", "dense model has no experts"),
        ("vocabulary", "its vocabulary has 300 types"),
        ("tokenizer", "its tokenizer .* is not that of"),
        ("truncated", "model.safetensors: damaged or truncated"),
        ("incomplete", "lacks .* weights"),
        ("diverged", "loss is not finite"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    dataset: Config, tmp_path: Path, fault: str, message: str
) -> None:
    folder = tmp_path / "checkpoint"
    if fault == "dense":
        save(encoder(400, num_experts=0, num_experts_per_tok=1), dataset, folder)
    elif fault == "vocabulary":
        save(encoder(300), dataset, folder)
    elif fault != "nowhere":
        network = encoder(400)
        if fault == "diverged":
            network.model.norm.weight.data.fill_(torch.nan)
        save(network, dataset, folder)
    if fault == "tokenizer":
        text = (folder / "tokenizer.json").read_text(encoding="utf-8")
        (folder / "tokenizer.json").write_text(text.replace('"[UNK]"', '"[unk]"'))
    weights = folder / "model.safetensors"
    if fault == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    if fault == "incomplete":
        config = (folder / "config.json").read_text()
        (folder / "config.json").write_text(
            config.replace('"num_hidden_layers": 3', '"num_hidden_layers": 4')
        )
    with pytest.raises(UserError, match=message) as caught:
        route(dataset, str(folder))
    assert "\n" not in str(caught.value)


def test_without_a_trained_model_the_next_step_is_named(dataset: Config) -> None:
    config = make_config(Path("unused"), f"paths.runs={dataset.paths.runs}")
    with pytest.raises(UserError, match="run `moescope train` first"):
        execute(ROUTE, config, command="test")
