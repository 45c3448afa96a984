"""E7: information of tokens and classes on the expert, above what chance gives."""

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from moescope.analysis.chapters.form.measures import class_cells, form_information, largest_share
from moescope.analysis.data.token_types import TypeCounts
from moescope.analysis.statistics.information import mutual_information_bits


def test_information_equals_sklearn() -> None:
    counts = np.random.default_rng(0).integers(0, 30, (7, 5))
    nats = mutual_info_score(None, None, contingency=counts)
    assert mutual_information_bits(counts) == pytest.approx(nats / np.log(2))


def test_chance_gives_nothing_and_identity_everything() -> None:
    generator = np.random.default_rng(1)
    sizes = generator.integers(10, 60, 300)
    load = np.array([0.4, 0.3, 0.2, 0.1])
    random = generator.multinomial(sizes, load)
    exact = np.zeros((300, 4), dtype=np.int64)
    exact[np.arange(300), np.arange(300) % 4] = sizes
    counts = np.stack([random, exact], axis=1)  # (V, L, E)
    frame = form_information(
        {"token": TypeCounts([str(x) for x in sizes], sizes, counts)}, (0, 5), generator
    )
    quiet, loud = frame.to_dict("records")
    assert quiet["plug_in_bits"] > 0.03 > 0.01 > abs(quiet["share"])
    assert loud["plug_in_bits"] == pytest.approx(loud["load_bits"])
    assert (loud["layer"], loud["by"], loud["values"]) == (5, "token", 300)


def test_rare_values_are_left_out() -> None:
    form = TypeCounts(["rare", "often"], np.array([9, 10]), np.ones((2, 1, 2), dtype=np.int64))
    assert form.frequent().names == ["often"]
    nothing = TypeCounts(["rare"], np.array([9]), np.ones((1, 1, 2), dtype=np.int64))
    assert form_information({"token": nothing}, (0,), np.random.default_rng(0)).empty


def test_class_cells_name_the_class_that_leans() -> None:
    counts = np.array([[[90, 10]], [[100, 100]], [[300, 400]]])
    cells = class_cells(
        TypeCounts(["digits", "other", "words"], counts[:, 0].sum(axis=1), counts), (3,)
    )
    best = cells.loc[cells.log2_ratio.idxmax()]
    assert (best["class"], best["layer"], best["expert"]) == ("digits", 3, 0)
    assert best.low > 0
    assert best.share == 0.9
    assert best.base_share == pytest.approx(0.49)


@pytest.mark.parametrize(("experts", "top_k"), [(8, 1), (8, 2), (64, 8)])
def test_what_decides_all_experts_explains_the_largest_share(experts: int, top_k: int) -> None:
    generator = np.random.default_rng(0)
    tokens = generator.integers(50, 200, 1000)
    counts = np.zeros((1000, 1, experts), dtype=np.int64)
    for row, number in enumerate(tokens):
        counts[row, 0, generator.permutation(experts)[:top_k]] = number
    form = TypeCounts([str(row) for row in range(1000)], tokens, counts)
    found = form_information({"token": form}, [0], generator).iloc[0]
    most = largest_share(found.load_bits, top_k)
    assert found.plug_in_bits / found.load_bits == pytest.approx(most)
    assert found.share == pytest.approx(most, abs=0.03)  # less what chance gives
