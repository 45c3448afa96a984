"""What it costs to record a model of which one layer is in memory: memory, reading, time.

    python benchmarks/streaming.py [--quick] [--threads N] [--folder DIR]

Writes a random OLMoE (4.2 GB in bf16, 20 layers of 128 experts; `--quick` 56 MB) shard by shard,
records 200 windows of 256 tokens with everything in memory and layer by layer, each in a process of
its own, and compares the stores file by file. The checkpoint is removed afterwards.
Last line: JSON with `peak_ratio` (peak memory of the layered process, Python and all, over the
weights' size; what layers hand on is in files and not part of it), `read_ratio` (bytes that the
process read from files, without those that the layers handed on, over the weights' size),
`time_ratio` (the layered stage, reading included, over the pass with everything in memory, loading
left out), `cpu_ratio` (processor time of the two stages, loading in both: less disturbed by other
work), `same` (whether the two stores are equal, to the last bit).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import OlmoeConfig, PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.routing import peak_mib
from moescope.configs.compose import compose_config
from moescope.configs.stage import execute
from moescope.configs.stages import CORPUS, MASK, ROUTE
from moescope.inference.recording import between_layers, recording

VOCABULARY = 4096


@dataclass(frozen=True)
class Size:
    """Sizes of the checkpoint and of what it reads."""

    hidden: int
    experts: int
    expert_width: int
    layers: int
    windows: int
    length: int


FULL = Size(hidden=1024, experts=128, expert_width=256, layers=20, windows=200, length=256)
QUICK = Size(hidden=256, experts=32, expert_width=128, layers=8, windows=20, length=64)


def write_checkpoint(folder: Path, size: Size) -> int:
    """Writes a random OLMoE as its authors did, one layer per shard; returns the bytes of weights.

    Names are per expert, so that reading has to fuse them.
    """
    config = OlmoeConfig(
        vocab_size=VOCABULARY,
        hidden_size=size.hidden,
        intermediate_size=size.expert_width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.hidden // 64,
        num_key_value_heads=max(size.hidden // 256, 1),
        num_experts=size.experts,
        num_experts_per_tok=4,
        max_position_embeddings=size.length,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
        dtype=torch.bfloat16,
        architectures=["OlmoeForCausalLM"],
    )
    config.save_pretrained(folder)
    generator, names, total = torch.Generator().manual_seed(0), {}, 0
    for layer in range(-1, size.layers):
        shapes = _outside(size) if layer < 0 else _layer(layer, size)
        weights = {name: _random(shape, generator) for name, shape in shapes.items()}
        file = f"model-{layer + 2:05d}-of-{size.layers + 1:05d}.safetensors"
        save_file(weights, folder / file, {"format": "pt"})
        names |= dict.fromkeys(weights, file)
        total += sum(weight.nbytes for weight in weights.values())
    index = {"metadata": {"total_size": total}, "weight_map": names}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return total


def _outside(size: Size) -> dict[str, tuple[int, ...]]:
    table = (VOCABULARY, size.hidden)
    return {
        "model.embed_tokens.weight": table,
        "lm_head.weight": table,
        "model.norm.weight": (size.hidden,),
    }


def _layer(number: int, size: Size) -> dict[str, tuple[int, ...]]:
    prefix, hidden, keys = f"model.layers.{number}", size.hidden, 64 * max(size.hidden // 256, 1)
    shapes: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "self_attn.q_norm": (hidden,),
        "self_attn.k_norm": (keys,),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
        "mlp.gate": (size.experts, hidden),
    }
    for expert in range(size.experts):
        for name in ("gate_proj", "up_proj"):
            shapes[f"mlp.experts.{expert}.{name}"] = (size.expert_width, hidden)
        shapes[f"mlp.experts.{expert}.down_proj"] = (hidden, size.expert_width)
    return {f"{prefix}.{name}.weight": shape for name, shape in shapes.items()}


def _random(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    if len(shape) == 1:
        return torch.ones(shape, dtype=torch.bfloat16)
    values = torch.empty(shape).normal_(0, 0.05, generator=generator)
    return values.bfloat16()


def write_tokenizer(folder: Path, corpus: Path) -> None:
    """Writes a tokenizer that knows every word of a corpus."""
    texts = [
        t for file in corpus.glob("*.parquet") for t in pq.read_table(file)["text"].to_pylist()
    ]
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(
        vocab_size=VOCABULARY, special_tokens=["<end>", "<unk>"], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unk>"
    ).save_pretrained(folder)


def overrides_of(folder: Path, size: Size) -> list[str]:
    """The run: blocks of `size.length` tokens, no masks, nothing but the pass over the probe."""
    per_topic = size.windows // 4
    return [
        *("name=benchmark", f"paths.runs={folder}", "source=synthetic", "source.num_topics=4"),
        f"source.documents_per_topic={6 * per_topic}",
        f"source.words_per_document={size.length - 1}",
        f"corpus.splits.probe_documents={per_topic}",
        *("tokenizer=pretrained", f"tokenizer.path={folder / 'model'}", "masking=none"),
        *("dataset.packing=blocks", "dataset.attend_across=true"),
        *(f"dataset.sequence_length={size.length}", "route.batch_size=8"),
        *(f"route.model={folder / 'model'}", "route.knockout=none"),
    ]


def record(overrides: list[str]) -> dict[str, Any]:
    """Runs the route stage in this process; returns what it took."""
    loading_s, read_back = 0.0, 0
    load_model, read_tensor = recording.load_model, between_layers._read_tensor

    def timed(*arguments: Any) -> Any:
        nonlocal loading_s
        start = time.perf_counter()
        network = load_model(*arguments)
        loading_s += time.perf_counter() - start
        return network

    def counted(*arguments: Any) -> torch.Tensor:
        nonlocal read_back
        tensor = read_tensor(*arguments)
        read_back += tensor.nbytes
        return tensor

    recording.load_model, between_layers._read_tensor = timed, counted  # type: ignore[assignment]
    before, start, cpu = bytes_read(), time.perf_counter(), time.process_time()
    manifest = execute(ROUTE, compose_config(overrides), command="benchmark")
    return {
        "elapsed_s": time.perf_counter() - start,
        "cpu_s": time.process_time() - cpu,
        "loading_s": loading_s,
        "read": bytes_read() - before - read_back,
        "handed_on": read_back,
        "peak": peak_mib() * 2**20,
        "layered": manifest.counts["layer_by_layer"],
        "tokens": manifest.counts["num_tokens"],
        "files": manifest.files,
    }


def bytes_read() -> int:
    """Bytes that this process has read from files so far; mapped files do not count."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def in_own_process(overrides: list[str], threads: int) -> dict[str, Any]:
    """Runs `record` in a fresh process, whose peak memory is its own."""
    options = ["--threads", str(threads), "--record", json.dumps(overrides)]
    output = subprocess.run(
        [sys.executable, __file__, *options], check=True, stdout=subprocess.PIPE
    )
    found: dict[str, Any] = json.loads(output.stdout.splitlines()[-1])
    return found


def measure(size: Size, folder: Path, threads: int) -> dict[str, Any]:
    """Makes everything in `folder`, records both ways, and compares."""
    model, overrides = folder / "model", overrides_of(folder, size)
    model.mkdir(parents=True)
    weights = write_checkpoint(model, size)
    config = compose_config(overrides)
    execute(CORPUS, config, command="benchmark")
    write_tokenizer(model, config.paths.corpus)
    windows = execute(MASK, config, command="benchmark").counts["examples"]["probe"]
    plain = in_own_process([*overrides, "force=true"], threads)
    layered = in_own_process(
        [*overrides, "force=true", f"route.memory={weights * 9 // 10}"], threads
    )
    assert layered["layered"], "the weights are above the limit"
    assert not plain["layered"], "this machine's memory holds the whole model"
    return {
        "weights_gb": weights / 1e9,
        "windows": windows,
        "tokens": plain["tokens"],
        "peak_ratio": layered["peak"] / weights,
        "plain_peak_ratio": plain["peak"] / weights,
        "read_ratio": layered["read"] / weights,
        "time_ratio": layered["elapsed_s"] / (plain["elapsed_s"] - plain["loading_s"]),
        "cpu_ratio": layered["cpu_s"] / plain["cpu_s"],
        "plain_s": plain["elapsed_s"],
        "plain_loading_s": plain["loading_s"],
        "layered_s": layered["elapsed_s"],
        "handed_on_gb": layered["handed_on"] / 1e9,
        "same": plain["files"] == layered["files"],
    }


def main() -> None:
    """Measures and prints a table, then the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a model of 56 MB: shows that it works"
    )
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--folder", type=Path, help="where 6 GB have room for a while")
    parser.add_argument("--record", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.record:
        print(json.dumps(record(json.loads(arguments.record))))
        return
    size = QUICK if arguments.quick else FULL
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        figures = measure(size, Path(folder), arguments.threads)
    table = Table("figure", "value", title="Layer by layer", title_justify="left")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.3f}" if isinstance(value, float) else str(value))
    Console().print(table)
    print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}))


if __name__ == "__main__":
    main()
