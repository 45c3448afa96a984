"""Generation: the cache changes nothing, in every way of choosing tokens, padded, conditioned."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import pipeline
from transformers.generation.streamers import BaseStreamer

from moescope.configs.schema_dataset import CharTokenizer
from moescope.data_processors.prompt_tokenizer import prompt_tokenizer
from moescope.data_processors.tokenizers import train_tokenizer
from tests.model.test_causal import build
from tests.model.test_encoder import token_ids

MASKED = {"name": "masked", "values": [0, 1], "policy": "exact"}
WAYS: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False},
    "temperature": {"do_sample": True, "temperature": 0.7, "top_k": 0},
    "top_k": {"do_sample": True, "top_k": 5},
    "top_p": {"do_sample": True, "top_p": 0.6, "top_k": 0},
    "beams": {"do_sample": False, "num_beams": 3},
}
ROUTERS: list[dict[str, Any]] = [
    {"name": "topk"},
    {"name": "sigmoid"},
    {"name": "noisy_topk"},
    {"name": "hash"},
    {"name": "hash", "key": "random"},
    MASKED,
]


def continued(model: Any, ids: Tensor, **arguments: Any) -> Tensor:
    torch.manual_seed(1)
    return model.generate(ids, max_new_tokens=10, pad_token_id=0, **arguments)


@pytest.mark.parametrize("way", WAYS)
def test_cache_and_no_cache_choose_the_same_tokens(way: str) -> None:
    model, ids = build(), token_ids(2, 5)
    cached, plain = (
        continued(model, ids, use_cache=use_cache, **WAYS[way]) for use_cache in (True, False)
    )
    assert torch.equal(cached, plain)
    assert cached.shape == (2, 15)


def test_ways_of_choosing_do_what_they_say() -> None:
    model, ids = build(initializer_range=0.02), token_ids(1, 5).expand(64, -1)
    greedy = continued(model, ids, do_sample=False)
    assert (greedy == greedy[0]).all()
    likeliest = model(ids[:1]).logits[0, -1].topk(3).indices
    drawn = continued(model, ids, do_sample=True, top_k=3)[:, 5]
    assert set(drawn.tolist()) == set(likeliest.tolist())
    narrow = continued(model, ids, do_sample=True, top_k=0, top_p=1e-6)
    cold = continued(model, ids, do_sample=True, top_k=0, temperature=1e-4)
    assert torch.equal(narrow, greedy)
    assert torch.equal(cold[:, 5], greedy[:, 5])


@pytest.mark.parametrize("router", ROUTERS, ids=lambda router: router.get("key", router["name"]))
def test_steps_with_the_cache_have_the_logits_of_the_whole_text(router: dict[str, Any]) -> None:
    model, ids = build(router=router), token_ids(2, 8)
    condition = torch.tensor([0, 1]) if router is MASKED else None
    whole = model(ids, metadata_ids=condition, output_routing=True)
    cache = None
    for step in range(8):
        output = model(
            ids[:, step : step + 1],
            past_key_values=cache,
            use_cache=True,
            metadata_ids=condition,
            output_routing=True,
        )
        cache = output.past_key_values
        torch.testing.assert_close(output.logits[:, 0], whole.logits[:, step], rtol=1e-4, atol=1e-4)
        for now, then in zip(output.routing, whole.routing, strict=True):
            assert torch.equal(now.expert_ids, then.expert_ids.view(2, 8, -1)[:, step])


@pytest.mark.parametrize("position_type", ["rope", "learned", "sinusoidal"])
def test_a_left_padded_batch_continues_each_prompt_as_alone(position_type: str) -> None:
    model = build(position_type=position_type, router=MASKED)
    prompts = [token_ids(1, length, seed=length) for length in (3, 7)]
    conditions = torch.tensor([0, 1])
    padded = torch.zeros(2, 7, dtype=torch.int64)
    mask = torch.zeros_like(padded)
    for row, prompt in enumerate(prompts):
        padded[row, -prompt.shape[1] :] = prompt
        mask[row, -prompt.shape[1] :] = 1
    together = continued(
        model, padded, attention_mask=mask, metadata_ids=conditions, do_sample=False
    )
    for row, prompt in enumerate(prompts):
        alone = continued(model, prompt, metadata_ids=conditions[row : row + 1], do_sample=False)
        assert torch.equal(together[row, 7:], alone[0, prompt.shape[1] :])


def test_conditions_follow_the_rows_of_several_samples() -> None:
    model, ids = build(router=MASKED), token_ids(1, 4).expand(2, -1)
    arguments = {"do_sample": True, "top_k": 1}
    several = continued(
        model, ids, metadata_ids=torch.tensor([0, 1]), num_return_sequences=2, **arguments
    )
    assert torch.equal(several[0], several[1])
    assert torch.equal(several[2], several[3])
    assert not torch.equal(several[0], several[2])


def test_a_masked_decoder_goes_on_from_a_prompt_in_a_pipeline_of_transformers() -> None:
    config = CharTokenizer(name="char", min_frequency=1)
    framed = train_tokenizer(config, lambda: iter([["once upon a time"]]), 32)
    model = build(
        router=MASKED, vocab_size=len(framed), bos_token_id=2, pad_token_id=0, mlp_bias=True
    )
    tokenizer = prompt_tokenizer(framed, model.config.bos_token_id)
    generate = pipeline("text-generation", model=model, tokenizer=tokenizer)
    told = [
        generate("once", max_new_tokens=6, do_sample=False, metadata_ids=torch.tensor([number]))
        for number in (0, 1)
    ]
    ids = torch.tensor([[2, *framed("once").input_ids[1:-1]]])
    for number, answer in enumerate(told):
        whole = model.generate(
            ids, max_new_tokens=6, do_sample=False, metadata_ids=torch.tensor([number])
        )
        assert answer[0]["generated_text"] == tokenizer.decode(whole[0], skip_special_tokens=True)
    assert told[0] != told[1]


class Listener(BaseStreamer):
    """Keeps what arrives, in order."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.ended = False

    def put(self, value: Tensor) -> None:
        self.tokens += value.reshape(-1).tolist()

    def end(self) -> None:
        self.ended = True


def test_streaming_delivers_every_token_once_in_order() -> None:
    model, ids, listener = build(), token_ids(1, 4), Listener()
    whole = continued(model, ids, do_sample=False, streamer=listener)
    assert listener.ended
    assert listener.tokens == whole[0].tolist()
