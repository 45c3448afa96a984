"""What a report takes from the manifests."""

from pathlib import Path

import pytest

from moescope.analysis.data.quality import model_quality
from moescope.configs.errors import UserError
from moescope.configs.manifest import read_manifest

from .runs import write_run
from .stores import Planted


def test_quality_is_that_of_the_model_which_was_kept(tmp_path: Path) -> None:
    manifest = read_manifest(write_run(tmp_path, Planted()).paths.model)
    assert manifest is not None
    quality = model_quality(manifest)
    assert quality is not None
    assert (quality.best_step_tokens, quality.train_tokens) == (98_765, 123_456)
    del manifest.counts["best_step_tokens"]
    with pytest.raises(UserError, match=r"best_step_tokens.*rerun `moescope train`"):
        model_quality(manifest)
