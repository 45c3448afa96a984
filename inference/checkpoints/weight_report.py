"""Compares the weights of a checkpoint with those of its model: none missing, none left over.

transformers warns of weights that it did not use, and goes on. A quantised checkpoint whose config
does not say so is loaded without its scales, and routes most tokens to wrong experts.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING as METHODS

from ...configs.errors import UserError
from ...configs.progress import console

# stored weights that no model of today's transformers needs: what they hold is computed
COMPUTED = {
    "rotary frequencies": re.compile(r"rotary_emb\.(inv_freq|cos_cached|sin_cached)$"),
    "causal masks": re.compile(r"attn\.(masked_)?bias$"),
    "position numbers": re.compile(r"(^|\.)position_ids$"),
}
# what quantised weights are stored with
SCALES = re.compile(
    r"[._](scales?|scale_inv|weight_scale\w*|input_scale|zeros?|zero_point|qweight|qzeros|g_idx|"
    r"absmax|quant_map|quant_state\w*|blocks|weight_packed|weight_shape|SCB)$"
)


def check_quantization(path: str, config: PreTrainedConfig, files: Iterable[Path]) -> None:
    """Refuses quantised weights that transformers would take for plain ones.

    Args:
        path: the checkpoint.
        config: of the checkpoint.
        files: its weights; none for a checkpoint of the hub.

    Raises:
        UserError: a method that transformers does not know, or none named for weights that are
            stored with few bits.
    """
    said = getattr(config, "quantization_config", None)
    said = said if said is None or isinstance(said, dict) else said.to_dict()
    if said is not None:
        method = said.get("quant_method")
        method = getattr(method, "value", method)
        if any(said.get(f"load_in_{bits}bit") for bits in (4, 8)):
            method = "bitsandbytes_4bit"
        if method not in METHODS and method != "bitsandbytes":
            known = ", ".join(sorted(METHODS))
            raise UserError(
                f"{path}: config.json: quantization_config: quant_method={method!r} is a "
                "quantisation that transformers cannot undo; take the weights before it, or one of "
                f"{known}"
            )
        return
    beside = Path(path) / "hf_quant_config.json"
    if beside.is_file():
        raise _unsaid(path, f"{beside.name} (ModelOpt) says so")
    for file in files:
        with safe_open(file, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118  (no mapping)
                dtype = opened.get_slice(name).get_dtype()
                if dtype.startswith(("F8", "F4")):
                    raise _unsaid(path, f"{name} is stored as {dtype}")


def check_report(
    path: str, network: PreTrainedModel, report: Mapping[str, Any], files: Iterable[Path]
) -> None:
    """Refuses what `from_pretrained` only warns of; says what is left aside by a rule.

    Args:
        path: the checkpoint.
        network: its model.
        report: the lists of `from_pretrained`.
        files: the weights; none for a checkpoint of the hub.

    Raises:
        UserError: weights that the model has and the checkpoint lacks, the other way round, or
            with other shapes.
    """
    _refuse(path, report.get("missing_keys"), "lacks {} of the model's weights")
    unused = [name for name in report.get("unexpected_keys") or () if not _is_computed(name)]
    later = [name for name in unused if _predicts_later_tokens(name, network.config)]
    others = sorted(set(unused) - set(later))
    dropped = _dropped_by_family(network, files)
    for name in (*others, *dropped):
        if SCALES.search(name):
            raise _unsaid(path, f"{name} is a scale that the model does not use")
    _refuse(path, others, f"has {{}} weights that {type(network).__name__} does not use")
    _say(path, later, "of layers that predict later tokens")
    _say(path, sorted(set(dropped) - set(later)), "that transformers drops in this family")
    mismatched = [
        name if isinstance(name, str) else f"{name[0]} {tuple(name[1])} for {tuple(name[2])}"
        for name in report.get("mismatched_keys") or ()
    ]
    _refuse(path, mismatched, "has {} weights of other shapes than the model's")
    if report.get("error_msgs"):
        first = " ".join(str(next(iter(report["error_msgs"]))).split())[:300]
        raise UserError(f"{path}: cannot load this checkpoint ({first})")


def _dropped_by_family(network: PreTrainedModel, files: Iterable[Path]) -> list[str]:
    """Lists stored weights that the model's class ignores, such as towers and later layers."""
    patterns = network._keys_to_ignore_on_load_unexpected or ()
    own = set(network.state_dict())
    names: list[str] = []
    for file in files if patterns else ():
        with safe_open(file, "pt") as opened:
            names += opened.keys()
    ignored = re.compile("|".join(f"({pattern})" for pattern in patterns))
    return sorted(n for n in names if n not in own and ignored.search(n) and not _is_computed(n))


def _say(path: str, names: list[str], what: str) -> None:
    if names:
        console.print(
            f"{path}: {len(names)} weights {what} are left aside ({names[0]})",
            markup=False,
            soft_wrap=True,
        )


def _refuse(path: str, names: Iterable[str] | None, what: str) -> None:
    names = sorted(names or ())
    if names:
        more = f", {names[1]}" if len(names) > 1 else ""
        more += f" and {len(names) - 2} more" if len(names) > 2 else ""
        raise UserError(
            f"{path}: the checkpoint {what.format(len(names))}: {names[0]}{more}; "
            "download or save it again, with a config.json that fits"
        )


def _unsaid(path: str, why: str) -> UserError:
    return UserError(
        f"{path}: quantised weights without a quantization_config in config.json ({why}); take the "
        "weights before the quantisation, or the config that belongs to them"
    )


def _is_computed(name: str) -> bool:
    return any(pattern.search(name) for pattern in COMPUTED.values())


def _predicts_later_tokens(name: str, config: PreTrainedConfig) -> bool:
    """Whether a weight belongs to a multi-token head, which this project does not run."""
    text = config.get_text_config()
    if re.search(r"(^|\.)mtp[._]", name):
        return True
    heads = ("num_nextn_predict_layers", "num_mtp_layers", "mtp_num_hidden_layers")
    layer = re.search(r"(?:^|\.)layers\.(\d+)\.", name)
    if layer is None or not any(getattr(text, head, None) for head in heads):
        return False
    return int(layer[1]) >= text.num_hidden_layers
