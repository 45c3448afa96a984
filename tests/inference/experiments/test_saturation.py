"""How much of the final choice a snapshot already made."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from moescope.configs.compose import compose_config
from moescope.configs.manifest import read_manifest
from moescope.configs.schema import Config
from moescope.inference.checkpoints.load_checkpoint import load_model
from moescope.inference.experiments.saturation import shared_choices, write_saturation
from moescope.inference.recording.capture import RoutingCapture
from moescope.inference.recording.forward import Observer
from moescope.inference.recording.split import open_split

from ..runs import TOP_K, encoder, route, save


def test_shared_choices_equal_a_slow_twin() -> None:
    generator = np.random.default_rng(0)
    final, early = (
        np.argsort(generator.random((50, 3, 6)), -1)[..., :2].astype(np.int16) for _ in range(2)
    )
    final[generator.random(final.shape) < 0.2] = 6  # not executed
    early[generator.random(early.shape) < 0.2] = 6
    shared, chosen = shared_choices(final, early, 6)
    for token in range(50):
        for layer in range(3):
            last = set(final[token, layer].tolist()) - {6}
            assert chosen[token, layer] == len(last)
            assert shared[token, layer] == len(last & set(early[token, layer].tolist()))


def test_a_snapshot_that_is_the_model_agrees_in_everything(dataset: Config, tmp_path: Path) -> None:
    model = save(encoder(400), dataset, tmp_path / "model")
    other = encoder(400)
    with torch.no_grad():
        for layer in other.model.layers[1:]:
            layer.mlp.gate.weight.copy_(torch.randn_like(layer.mlp.gate.weight))
    _, store = route(dataset, model)
    assert store.saturation.empty
    assert store.facts.snapshots == []
    config = compose_config(["route.snapshot_documents=3", "route.batch_size=8"]).model_copy(
        update={"paths": dataset.paths}
    )
    manifest = read_manifest(dataset.paths.dataset)
    assert manifest is not None
    split = open_split(config, manifest, 400)
    snapshots = {5: Path(save(other, dataset, tmp_path / "other")), 9: Path(model)}
    network = load_model(model, torch.device("cpu"))
    with RoutingCapture(network) as capture:
        observer = Observer(network, capture, torch.device("cpu"))
        write_saturation(tmp_path, split, observer, snapshots, config.route)
    frame = pq.read_table(tmp_path / "saturation.parquet").to_pandas()
    assert frame.groupby("step").size().tolist() == [18, 18], "2 layers x 3 topics x 3 documents"
    documents = store.documents.set_index("document")
    assert (
        documents.loc[frame["document"], "num_untouched"] * TOP_K == frame["chosen"].to_numpy()
    ).all()
    same, differs = frame[frame["step"] == 9], frame[frame["step"] == 5]
    assert (same["shared"] == same["chosen"]).all()
    assert 0.1 < differs["shared"].sum() / differs["chosen"].sum() < 0.6, "by chance 1/3"
