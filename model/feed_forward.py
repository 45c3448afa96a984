"""The dense feed-forward network, and the transform before the output over the vocabulary."""

from torch import Tensor, nn
from transformers.activations import ACT2FN

from .attention import build_norm
from .configuration_moescope import MoescopeConfig


class MoescopeMLP(nn.Module):
    """Dense FFN, gated (SwiGLU and kin, arXiv 2002.05202) or plain."""

    def __init__(self, config: MoescopeConfig, width: int) -> None:
        super().__init__()
        bias = config.mlp_bias
        self.gate_proj = nn.Linear(config.hidden_size, width, bias=bias) if config.gated else None
        self.up_proj = nn.Linear(config.hidden_size, width, bias=bias)
        self.down_proj = nn.Linear(width, config.hidden_size, bias=bias)
        self.act_fn = ACT2FN[config.hidden_act]

    def forward(self, hidden_states: Tensor) -> Tensor:
        if self.gate_proj is None:
            return self.down_proj(self.act_fn(self.up_proj(hidden_states)))
        return self.down_proj(
            self.act_fn(self.gate_proj(hidden_states)) * self.up_proj(hidden_states)
        )


class MoescopeHead(nn.Module):
    """BERT's head transform: dense, activation, norm (before the decoder)."""

    def __init__(self, config: MoescopeConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.act_fn = ACT2FN[config.hidden_act]
        self.norm = build_norm(config, config.hidden_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.norm(self.act_fn(self.dense(hidden_states)))
