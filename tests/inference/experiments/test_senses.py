"""Senses are recorded as a slow twin counts them, in encoders and decoders; bad files say where."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, OlmoeConfig, OlmoeForCausalLM, PreTrainedModel

from moescope.configs.errors import UserError
from moescope.configs.schema import Config
from moescope.inference.experiments.senses import read_senses
from moescope.inference.recording.capture import RoutingCapture

from ..runs import EXPERTS, SIZES, encoder, route, save

pytestmark = pytest.mark.parametrize("dataset", ["none"], indirect=True)
WORD = "bank"


def write_texts(folder: Path) -> Path:
    """Sentences of two senses; one uses the word twice, one hides it behind the window."""
    lines = [f"a {WORD} lends", f"by the {WORD}", f"one {WORD}, two {WORD}", f"{'x ' * 30}{WORD}"]
    senses = ["money", "river", "money", "river"]
    path = folder / "senses.csv"
    rows = [f'"{text}",{WORD},{sense}' for text, sense in zip(lines, senses, strict=True)]
    path.write_text("\n".join(["text,token,sense", *rows]) + "\n")
    return path


def slow_counts(network: PreTrainedModel, config: Config, text: str) -> list[np.ndarray]:
    """Runs one text alone; (L, E) choices of each occurrence, found by decoding."""
    tokenizer = AutoTokenizer.from_pretrained(config.paths.dataset / "tokenizer")
    ids = tokenizer(text)["input_ids"]
    inputs = {"input_ids": torch.tensor([ids])}
    if getattr(network.config, "router", {}).get("name") == "masked":
        inputs["metadata_ids"] = torch.full((1, len(ids)), -1)  # every expert permitted
    with RoutingCapture(network) as capture, torch.no_grad():
        network(**inputs)
        experts, _ = capture.take(torch.arange(len(ids)), len(ids))
    pieces = [len(tokenizer.decode(ids[1 : i + 1])) for i in range(len(ids) - 1)]
    found, start = [], text.find(WORD)
    while start >= 0:
        counts = np.zeros((experts.shape[1], EXPERTS), dtype=int)
        for i in range(1, len(ids) - 1):
            if pieces[i - 1] < start + len(WORD) and pieces[i] > start:
                for layer, chosen in enumerate(experts[i].tolist()):
                    for expert in chosen:
                        counts[layer, expert] += 1
        found.append(counts)
        start = text.find(WORD, start + 1)
    return found


@pytest.mark.parametrize("family", ["encoder", "decoder", "masked router"])
def test_senses_equal_a_slow_twin(
    dataset: Config, tmp_path: Path, family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    network: PreTrainedModel = encoder(400)
    if family == "decoder":
        network = OlmoeForCausalLM(OlmoeConfig(vocab_size=400, num_experts=EXPERTS, **SIZES)).eval()
    if family == "masked router":
        values = ["topic_0", "topic_1", "topic_2"]
        rule = {"column": "topic", "policy": "exact", "values": values, "renormalise": True}
        network = encoder(400, router={"name": "masked", **rule})
    path = write_texts(tmp_path)
    _, store = route(dataset, save(network, dataset, tmp_path / "m"), f"route.senses={path}")
    assert store.facts.senses == [WORD]
    assert "in 1 texts" in capsys.readouterr().err
    assert store.senses.text.tolist() == [0, 1, 2, 2]
    assert store.senses.sense.tolist() == ["money", "river", "money", "money"]
    assert (store.senses.spelling.str.replace("|", "").str.strip() == WORD).all()
    texts = [f"a {WORD} lends", f"by the {WORD}", f"one {WORD}, two {WORD}"]
    expected = [counts for text in texts for counts in slow_counts(network, dataset, text)]
    assert np.array_equal(store.sense_counts, np.stack(expected))
    assert (store.sense_counts.sum(-1) == 2 * store.senses.num_tokens.to_numpy()[:, None]).all()


def test_other_texts_make_the_store_new(dataset: Config, tmp_path: Path) -> None:
    path, model = write_texts(tmp_path), save(encoder(400), dataset, tmp_path / "m")
    first, _ = route(dataset, model, f"route.senses={path}")
    path.write_text(path.read_text().replace("river", "shore"))
    second, store = route(dataset, model, f"route.senses={path}")
    assert first.inputs != second.inputs
    assert "shore" in set(store.senses.sense)
    _, without = route(dataset, model)
    assert without.senses.empty
    assert without.sense_counts.shape == (0, 2, EXPERTS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,word,sense\na bank,bank,x\n", "no column 'token'.*needs text, token, sense"),
        ("", "no texts there; it needs text, token, sense"),
        ("text,token,sense\n", "no texts there"),
        ("text,token,sense\na bank,bank,\n", "line 2: sense='' is empty"),
        ("text,token,sense\na banker,bank,x\n", "line 2: the word 'bank' is not in the text"),
    ],
)
def test_a_bad_file_says_where(dataset: Config, tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "senses.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        read_senses(path)
    with pytest.raises(UserError, match="no such file, or not one of"):
        read_senses(tmp_path / "nowhere.csv")
