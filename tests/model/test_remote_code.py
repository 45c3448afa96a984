"""A saved checkpoint carries its code: it loads where moescope is not installed."""

import subprocess
import sys
from pathlib import Path

import torch

from tests.model.test_encoder import build, token_ids

LOAD = """
import sys, torch
from transformers import AutoModel, AutoModelForMaskedLM
place = {"trust_remote_code": True, "device_map": "auto"}
model = AutoModelForMaskedLM.from_pretrained(sys.argv[1], **place).eval()
assert type(model).__module__.startswith("transformers_modules"), type(model).__module__
assert model.config._experts_implementation == "moescope_cpu"
assert not any(name.split(".")[0] in ("moescope", "model") for name in sys.modules)
ids = torch.load(sys.argv[2])
torch.save(model(ids).logits, sys.argv[3])
body = AutoModel.from_pretrained(sys.argv[1], **place).eval()
assert torch.equal(body(ids).last_hidden_state, model.model(ids).last_hidden_state)
"""


def test_checkpoint_loads_without_this_package(tmp_path: Path) -> None:
    model, ids = build(), token_ids(2, 6)
    model.save_pretrained(tmp_path / "checkpoint")
    torch.save(ids, tmp_path / "ids")
    arguments = [str(tmp_path / name) for name in ("checkpoint", "ids", "logits")]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *arguments],
        cwd=tmp_path,
        env={"HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    torch.testing.assert_close(torch.load(tmp_path / "logits"), model(ids).logits)
