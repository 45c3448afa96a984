"""Settings that no model can have are refused before a stage writes, by their config keys."""

from pathlib import Path

import pytest

from moescope.command_line import main
from moescope.configs.compose import compose_config
from moescope.configs.errors import UserError
from moescope.train.build import check_architecture


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["router.top_k=9"], ["router.top_k=9 is above model.num_experts=8"]),
        (["model.hidden_size=130"], ["model.hidden_size=130", "model.num_attention_heads=4"]),
        (["model.num_key_value_heads=3"], ["model.num_key_value_heads=3"]),
        (["model.first_k_dense=99"], ["model.first_k_dense=99", "model.moe_every=1"]),
        (["model.head_dim=3"], ["model.head_dim is 3"]),
        (["router=expert_choice", "model.is_causal=true"], ["expert_choice", "causal"]),
        (["router=masked", "router.values=[a,a]"], ["router.values=['a', 'a']"]),
    ],
)
def test_contradictions_name_the_config_keys(overrides: list[str], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        check_architecture(compose_config(overrides))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("router", ["masked", "switch", "gshard", "hash", "sigmoid", "noisy_topk"])
def test_every_router_passes_before_there_is_a_dataset(router: str) -> None:
    check_architecture(compose_config([f"router={router}"]))


def test_a_pipeline_writes_nothing_before_it_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["pipeline", "source=synthetic", f"paths.runs={tmp_path}", "router.top_k=9"]
    assert main(arguments) == 2
    assert "router.top_k=9 is above model.num_experts=8" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
