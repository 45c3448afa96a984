"""Continuing and filling in: the library's own results as the twin, experts as in a full pass."""

from pathlib import Path

import pytest
import torch

from moescope.configs.compose import compose_config
from moescope.configs.errors import UserError
from moescope.configs.schema_generate import Generate
from moescope.inference.checkpoints.loaded_model import LoadedModel, TokenUse
from moescope.inference.generation.continuation import TokenSampler, continue_prompt
from moescope.inference.generation.fill_mask import fill_masks
from moescope.inference.generation.prompt import encode_prompt

from ..prompted import CONTEXT, TEXT, YEARS, save_decoder, save_encoder, save_olmoe

CPU = torch.device("cpu")
PROMPT = "The old railway, [seen] = {so}"


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return LoadedModel(str(save_decoder(tmp_path_factory.mktemp("decoder"))), CPU)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return LoadedModel(str(save_encoder(tmp_path_factory.mktemp("encoder"))), CPU)


@pytest.fixture(scope="module")
def olmoe(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return LoadedModel(str(save_olmoe(tmp_path_factory.mktemp("olmoe"))), CPU)


def settings(**changes: object) -> Generate:
    return compose_config().generate.model_copy(update=changes)


def answer(
    model: LoadedModel, seed: int = 0, new: int = 12, prompt: str = PROMPT, **changes: object
) -> list[TokenUse]:
    sampler = TokenSampler(settings(**changes), torch.Generator().manual_seed(seed))
    return list(continue_prompt(model, encode_prompt(model, prompt), sampler, new))


def ids(uses: list[TokenUse]) -> list[int]:
    return [use.token_id for use in uses]


@pytest.mark.parametrize("name", ["decoder", "olmoe"])
def test_greedy_equals_the_librarys_generate(name: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(name)
    prompt = torch.tensor([encode_prompt(model, PROMPT)])
    expected = model.network.generate(prompt, max_new_tokens=12, do_sample=False)
    assert ids(answer(model, temperature=0)) == expected[0].tolist()


@pytest.mark.parametrize("name", ["decoder", "olmoe"])
def test_every_tokens_experts_are_those_of_one_pass_over_the_whole(
    name: str, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(name)
    uses = answer(model)
    _, experts, weights = model.run(ids(uses))
    assert len(uses[0].experts) == len(model.layers) == 2
    for use, chosen, mass in zip(uses, experts, weights, strict=True):
        assert use.experts == chosen
        torch.testing.assert_close(torch.tensor(use.weights), torch.tensor(mass), atol=1e-4, rtol=0)


def test_own_router_agrees_with_what_is_shown(decoder: LoadedModel) -> None:
    uses = answer(decoder)
    routing = decoder.network(torch.tensor([ids(uses)]), output_routing=True).routing
    for index, layer in enumerate(routing):
        shown = [sorted(use.experts[index]) for use in uses]
        assert shown == layer.expert_ids.sort(-1).values.tolist()


def test_the_seed_decides_and_greedy_ignores_it(decoder: LoadedModel) -> None:
    assert ids(answer(decoder, seed=1)) == ids(answer(decoder, seed=1))
    assert ids(answer(decoder, seed=1)) != ids(answer(decoder, seed=2))
    greedy = ids(answer(decoder, temperature=0))
    assert ids(answer(decoder, seed=5, temperature=0)) == greedy
    assert ids(answer(decoder, seed=5, temperature=1e-40)) == greedy
    assert ids(answer(decoder, seed=5, top_k=1)) == greedy
    assert ids(answer(decoder, seed=5, top_p=1e-6)) == greedy


def test_draws_follow_the_distribution_that_the_settings_leave() -> None:
    logits = torch.tensor([2.0, 1.0, 0.5, 0.0, -3.0])
    sampler = TokenSampler(settings(temperature=0.5, top_k=3), torch.Generator().manual_seed(0))
    drawn = torch.bincount(torch.tensor([sampler(logits) for _ in range(4000)]), minlength=5) / 4000
    expected = torch.cat([(logits[:3] / 0.5).softmax(-1), torch.zeros(2)])
    torch.testing.assert_close(drawn, expected, atol=0.03, rtol=0)
    assert drawn[3:].sum() == 0


def test_scores_that_are_no_numbers_are_refused() -> None:
    for temperature in (0.0, 1.0):
        sampler = TokenSampler(settings(temperature=temperature), torch.Generator())
        with pytest.raises(UserError, match="NaN"):
            sampler(torch.tensor([1.0, torch.nan]))


def test_a_stop_token_ends_the_text(decoder: LoadedModel) -> None:
    (stop,) = decoder.stop_ids
    uses = list(continue_prompt(decoder, encode_prompt(decoder, PROMPT), lambda logits: stop, 12))
    assert [use.is_prompt for use in uses].count(False) == 1
    assert uses[-1].token_id == stop
    assert uses[-1].text == ""


def test_the_text_ends_where_the_context_is_full(decoder: LoadedModel) -> None:
    assert len(answer(decoder, new=1000)) == CONTEXT


def test_pieces_join_to_the_prompt_and_the_continuation(
    decoder: LoadedModel, olmoe: LoadedModel
) -> None:
    for model in (decoder, olmoe):
        uses = answer(model, prompt="railway: it's red Añ")
        said = "".join(use.text for use in uses if use.is_prompt)
        assert said == "railway: it's red Añ"
        whole = model.tokenizer.decode(ids(uses), skip_special_tokens=True)
        shown = "".join(u.text for u in uses if not (u.is_special and u.text))
        assert whole.startswith(shown)  # an unfinished character at the end stays out


def test_what_looks_special_in_a_prompt_is_text(decoder: LoadedModel) -> None:
    found = encode_prompt(decoder, "a [SEP] b")
    assert found[0] == decoder.tokenizer.cls_token_id
    assert decoder.tokenizer.sep_token_id not in found


def test_a_year_shows_no_expert_of_a_later_period(tmp_path: Path) -> None:
    router = {"name": "masked", **YEARS}
    model = LoadedModel(str(save_decoder(tmp_path / "m", router=router)), CPU)
    sampler = TokenSampler(settings(), torch.Generator().manual_seed(0))
    prompt = encode_prompt(model, PROMPT)
    used = {}
    for value in (-1, 0, 1, 2):
        inputs = {"metadata_ids": torch.tensor([value])}
        uses = list(continue_prompt(model, prompt, sampler, 12, **inputs))
        used[value] = {e for use in uses for layer in use.experts for e in layer}
    assert used[0] == {0, 1}  # six experts, three periods: two for each
    assert used[1] <= {0, 1, 2, 3}
    assert used[1] & {2, 3}
    assert used[2] & {4, 5}
    assert used[-1] & {4, 5}


def test_candidates_are_the_models_probabilities(encoder: LoadedModel) -> None:
    prompt = encode_prompt(encoder, "The state of [MASK] union, [MASK]?")
    uses, candidates = fill_masks(encoder, prompt, 4)
    masks = [i for i, token in enumerate(prompt) if token == encoder.tokenizer.mask_token_id]
    logits = encoder.network(torch.tensor([prompt])).logits[0]
    for position, offered in zip(masks, candidates, strict=True):
        best = logits[position].softmax(-1).topk(4)
        assert [c.token_id for c in offered] == best.indices.tolist()
        found = torch.tensor([c.probability for c in offered])
        torch.testing.assert_close(found, best.values, atol=1e-5, rtol=0)
    assert ids(uses) == prompt
    assert "".join(use.text for use in uses) == "The state of [MASK] union, [MASK]?"


def test_a_mask_hides_a_word_with_its_space(encoder: LoadedModel) -> None:
    """As in training, where the mask stands in the place of " the", not after a lone space."""
    tokenizer = encoder.tokenizer
    whole = tokenizer("state of the union").input_ids
    masked = encode_prompt(encoder, "state of [MASK] union")
    the = tokenizer(" the", add_special_tokens=False).input_ids
    assert len(the) == 1
    where = whole.index(the[0])
    assert masked == [*whole[:where], tokenizer.mask_token_id, *whole[where + 1 :]]


def test_prompts_that_do_not_fit_are_refused(decoder: LoadedModel, encoder: LoadedModel) -> None:
    room = CONTEXT - 2  # [CLS], and one token to come
    assert len(encode_prompt(decoder, "x" * room)) == CONTEXT - 1
    with pytest.raises(UserError, match=f"{CONTEXT} tokens.*at most {CONTEXT} and must leave room"):
        encode_prompt(decoder, "x" * (room + 1))
    with pytest.raises(UserError, match=f"reads at most {CONTEXT}; shorten"):
        encode_prompt(encoder, "[MASK]" + TEXT * 3)
