"""The transformer: experts, blocks, base model, masked and causal language-model heads.

The experts class and the models share this file: transformers looks for the experts decorator in
the model's own module.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Cache, DynamicCache, GenerationMixin, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS, use_experts_implementation
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import can_return_tuple
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .attention import MoescopeAttention, build_norm, rotary_cos_sin, sinusoidal_positions
from .configuration_moescope import MoescopeConfig
from .experts_autocast import ExpertsInDtype, autocast_dtype
from .experts_cpu import runs_fused
from .experts_one_token import cpu_experts_forward
from .feed_forward import MoescopeHead, MoescopeMLP
from .initialization import init_module
from .loss import chunked_loss, language_model_loss
from .masks import RowLayout, attention_arguments, segments_of_positions
from .outputs import MoescopeLMOutput, MoescopeModelOutput
from .router import ROUTERS
from .routing import Router, Routing, RoutingContext, routing_context

ALL_EXPERTS_FUNCTIONS.register("moescope_cpu", cpu_experts_forward)


@use_experts_implementation
class ExpertWeights(nn.Module):
    """Expert FFNs as 3-D weights in transformers' layout, with a slow obvious forward."""

    def __init__(self, config: MoescopeConfig) -> None:
        super().__init__()
        E, D, I = config.num_experts, config.hidden_size, config.moe_intermediate_size  # noqa: E741
        self.num_experts = E
        self.act_fn = ACT2FN[config.hidden_act]
        prefix, rows = ("gate_up", 2 * I) if config.gated else ("up", I)
        self.register_parameter(f"{prefix}_proj", nn.Parameter(torch.empty(E, rows, D)))
        self.down_proj = nn.Parameter(torch.empty(E, D, I))
        if config.mlp_bias:
            self.register_parameter(f"{prefix}_proj_bias", nn.Parameter(torch.empty(E, rows)))
            self.down_proj_bias = nn.Parameter(torch.empty(E, D))

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """(N, D), (N, k), (N, k) -> (N, D); slots with id `num_experts` are skipped."""
        output = torch.zeros_like(hidden_states)
        prefix = "gate_up" if self.has_gate else "up"
        up, up_bias = getattr(self, f"{prefix}_proj"), getattr(self, f"{prefix}_proj_bias", None)
        down_bias = getattr(self, "down_proj_bias", None)
        for e in range(self.num_experts):
            row, slot = torch.where(top_k_index == e)
            inner = F.linear(hidden_states[row], up[e], None if up_bias is None else up_bias[e])
            inner = self._apply_gate(inner) if self.has_gate else self.act_fn(inner)  # type: ignore[operator]
            outer = F.linear(inner, self.down_proj[e], None if down_bias is None else down_bias[e])
            weighted = outer * top_k_weights[row, slot, None].to(outer.dtype)
            output = output.index_add(0, row, weighted)
        return output


class MoescopeExperts(ExpertWeights):
    """Experts, gated or plain, with or without biases, by the config."""

    def __init__(self, config: MoescopeConfig) -> None:
        super().__init__(config)
        self.has_gate, self.has_bias = config.gated, config.mlp_bias
        # the library's paths skip the id `num_experts` (padding, dropped) only under this flag
        self._is_expert_parallel = True

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """Run the chosen implementation, under autocast in autocast's dtype.

        Our path for CPU stays in float32: most CPUs are slower in bf16.
        """
        dtype = autocast_dtype(hidden_states.device)
        implementation = self.config._experts_implementation  # type: ignore[union-attr]
        fused = implementation == "moescope_cpu" and runs_fused(hidden_states)
        if dtype is None or fused:
            return super().forward(hidden_states, top_k_index, top_k_weights)
        # the decorator's forward looks only at attributes of what it is given as `self`
        run: Any = ExpertWeights.forward
        inputs = (hidden_states.to(dtype), top_k_index, top_k_weights.to(dtype))
        return run(ExpertsInDtype(self, dtype), *inputs)


class MoescopeSparseMLP(nn.Module):
    """Router, experts, and shared experts beside them."""

    def __init__(self, config: MoescopeConfig, layer_idx: int) -> None:
        super().__init__()
        self.gate = ROUTERS[config.router["name"]](config, layer_idx)
        self.experts = MoescopeExperts(config)
        self.shared_experts = None
        if config.num_shared_experts:
            width = config.num_shared_experts * config.moe_intermediate_size
            self.shared_experts = MoescopeMLP(config, width)

    def forward(self, hidden_states: Tensor, context: RoutingContext) -> tuple[Tensor, Routing]:
        hidden_ND = hidden_states.flatten(0, 1)
        routing = self.gate(hidden_ND, context)
        weights = routing.weights.to(hidden_ND.dtype)
        output = self.experts(hidden_ND, routing.dispatched_ids(), weights)
        if self.shared_experts is not None:
            output = output + self.shared_experts(hidden_ND)
        return output.view_as(hidden_states), routing


class MoescopeLayer(GradientCheckpointingLayer):
    """One block: attention and FFN, each with a residual and a norm before or after it."""

    def __init__(self, config: MoescopeConfig, layer_idx: int) -> None:
        super().__init__()
        self.norm_first = config.norm_position == "pre"
        self.dropout: float = config.dropout
        self.self_attn = MoescopeAttention(config, layer_idx)
        self.mlp: MoescopeSparseMLP | MoescopeMLP = (
            MoescopeSparseMLP(config, layer_idx)
            if config.is_moe_layer(layer_idx)
            else MoescopeMLP(config, config.intermediate_size)
        )
        self.attention_norm = build_norm(config, config.hidden_size)
        self.mlp_norm = build_norm(config, config.hidden_size)

    def _residual(self, hidden_states: Tensor, update: Tensor, norm: nn.Module) -> Tensor:
        if self.dropout:
            update = F.dropout(update, self.dropout, self.training)
        summed = hidden_states + update
        return summed if self.norm_first else norm(summed)

    def forward(
        self, hidden_states: Tensor, context: RoutingContext, **attention: Any
    ) -> tuple[Tensor, Routing | None]:
        normed = self.attention_norm(hidden_states) if self.norm_first else hidden_states
        update, _ = self.self_attn(normed, **attention)
        hidden_states = self._residual(hidden_states, update, self.attention_norm)
        normed = self.mlp_norm(hidden_states) if self.norm_first else hidden_states
        routing = None
        if isinstance(self.mlp, MoescopeSparseMLP):
            update, routing = self.mlp(normed, context)
        else:
            update = self.mlp(normed)
        return self._residual(hidden_states, update, self.mlp_norm), routing


class MoescopePreTrainedModel(PreTrainedModel):
    config: MoescopeConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["MoescopeLayer"]  # noqa: RUF012
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_record_outputs = {  # noqa: RUF012  (the library's own form)
        "hidden_states": MoescopeLayer,
        "attentions": MoescopeAttention,
    }

    def get_correct_experts_implementation(self, requested_experts: str | None) -> str:
        """Default to our path, which hands tensors on other devices to the grouped GEMM."""
        return super().get_correct_experts_implementation(requested_experts or "moescope_cpu")

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load a checkpoint, also one of when `transform` was named `head`."""
        kwargs["key_mapping"] = {r"^head\.": "transform."} | (kwargs.get("key_mapping") or {})
        return super().from_pretrained(*args, **kwargs)

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """Save the model; elsewhere `AutoModel` loads it without its language-model head."""
        auto_map = getattr(self.config, "auto_map", None) or {}
        self.config.auto_map = auto_map | {"AutoModel": "modeling_moescope.MoescopeModel"}
        super().save_pretrained(*args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        init_module(module, self.config)

    def expert_modules(self) -> list[nn.Module]:
        """The experts of each MoE layer, in order of depth."""
        return [module for module in self.modules() if isinstance(module, MoescopeExperts)]

    def after_optimizer_step(self) -> None:
        """Let routers move state that no gradient trains (loss-free balancing)."""
        for module in self.modules():
            if isinstance(module, Router):
                module.after_optimizer_step()


class MoescopeModel(MoescopePreTrainedModel):
    """Embeddings, blocks and final norm."""

    def __init__(self, config: MoescopeConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.embed_tokens = nn.Embedding(config.vocab_size, width, config.pad_token_id)
        self.embed_positions = None
        if config.position_type == "learned":
            self.embed_positions = nn.Embedding(config.max_position_embeddings, width)
        self.embedding_norm = build_norm(config, width) if config.embedding_norm else None
        self.layers = nn.ModuleList(
            MoescopeLayer(config, i) for i in range(config.num_hidden_layers)
        )
        final = config.norm_position == "pre"
        self.norm = build_norm(config, width) if final else nn.Identity()
        self.gradient_checkpointing = False
        self.post_init()

    def _embed(self, inputs_embeds: Tensor, position_ids: Tensor) -> Tensor:
        hidden_states = inputs_embeds
        if self.embed_positions is not None:
            hidden_states = hidden_states + self.embed_positions(position_ids)
        elif self.config.position_type == "sinusoidal":
            # arXiv 1706.03762, 3.4: embeddings times sqrt(D), so that positions do not drown them
            positions = sinusoidal_positions(position_ids, hidden_states.shape[-1])
            scale = hidden_states.shape[-1] ** 0.5
            hidden_states = hidden_states * scale + positions.to(hidden_states.dtype)
        if self.embedding_norm is not None:
            hidden_states = self.embedding_norm(hidden_states)
        return F.dropout(hidden_states, self.config.dropout, self.training)

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
        segment_starts: Tensor | None = None,
        metadata_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        output_routing: bool = False,
        **kwargs: Any,
    ) -> MoescopeModelOutput:
        """Run the blocks.

        Args:
            input_ids: (B, S).
            attention_mask: (B, S) or, with a cache, (B, past + S); 0 at padding, which is neither
                attended, routed nor counted.
            position_ids: (B, S); restart per document in packed rows.
            segment_ids: (B, S) document of each position; attention stays inside a segment.
            segment_starts: (T + 1,) where each segment starts in the flat batch, then B * S, as the
                collators give it: padding stands at the right and is a segment of its own. It
                says the same as the two masks, and spares the attention masks that nothing needs.
            metadata_ids: (B,) or (B, S) metadata value of each document for the masked router.
            inputs_embeds: (B, S, D) in place of `input_ids`.
            past_key_values: cache of a causal model.
            use_cache: build a cache (causal models only).
            output_routing: return one `Routing` per MoE layer.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        batch_size, length = inputs_embeds.shape[:2]
        layout = RowLayout(attention_mask, segment_ids, segment_starts)
        if position_ids is None:
            past = 0 if past_key_values is None else past_key_values.get_seq_length()
            position_ids = torch.arange(past, past + length, device=inputs_embeds.device)[None]
        elif self.config.is_causal and past_key_values is None and layout.is_unknown:
            layout = layout._replace(segment_ids=segments_of_positions(position_ids, batch_size))
        hidden_states = self._embed(inputs_embeds, position_ids)
        attention = kwargs | attention_arguments(
            self.config, hidden_states, layout, past_key_values
        )
        if use_cache and self.config.is_causal and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        attention["past_key_values"] = past_key_values
        if self.config.position_type == "rope":
            head_dim, theta = self.config.attention_head_dim, self.config.rope_theta
            attention["cos_sin"] = rotary_cos_sin(position_ids, head_dim, theta)
        context = routing_context(
            (batch_size, length), attention_mask, input_ids, position_ids, metadata_ids
        )
        routings = []
        for layer in self.layers:
            hidden_states, routing = layer(hidden_states, context, **attention)
            if routing is not None:
                routings.append(routing)
        return MoescopeModelOutput(
            last_hidden_state=self.norm(hidden_states),
            past_key_values=past_key_values,
            routing=tuple(routings) if output_routing else None,
        )


class MoescopeLMHeadModel(MoescopePreTrainedModel):
    """What the two language models share: the decoder over the vocabulary and the loss."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: MoescopeConfig) -> None:
        super().__init__(config)
        self.model = MoescopeModel(config)
        # not "head", which accelerate would find again inside "lm_head"
        self.transform = MoescopeHead(config) if config.head_transform else nn.Identity()
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=config.head_bias)
        self.post_init()

    def _predict(
        self,
        hidden_states: Tensor,
        labels: Tensor | None,
        rows: Tensor | None,
        num_items: Any,
        output_logits: bool,
    ) -> dict[str, Any]:
        """Loss and logits, at the flat positions `rows` (M,) or everywhere when None."""
        if rows is not None:
            hidden_states = hidden_states.flatten(0, 1)[rows]
        hidden_states = self.transform(hidden_states)
        if labels is None:
            return {"logits": self.lm_head(hidden_states)}
        targets = labels.reshape(-1) if rows is None else labels.reshape(-1)[rows]
        if not output_logits:
            hidden_states = hidden_states.flatten(0, -2)
            loss, correct = chunked_loss(hidden_states, self.lm_head, targets, num_items)
            return {"loss": loss, "correct": correct}
        logits = self.lm_head(hidden_states)
        loss = language_model_loss(logits.flatten(0, -2), targets, num_items)
        return {"loss": loss, "logits": logits}


class MoescopeForMaskedLM(MoescopeLMHeadModel):
    """Encoder with a masked language-model head."""

    def __init__(self, config: MoescopeConfig) -> None:
        if config.is_causal:
            raise ValueError("a masked language model needs is_causal=False")
        super().__init__(config)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        position_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
        label_positions: Tensor | None = None,
        metadata_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_routing: bool = False,
        output_logits: bool = True,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> MoescopeLMOutput:
        """Predict the masked tokens.

        Args:
            labels: (B, S), -100 where nothing is predicted. The loss is the mean over labelled
                tokens (0 with zero gradients when there is none), or their sum divided by
                `num_items_in_batch`.
            label_positions: (M,) flat indices into B x S; head and loss run on these rows only.
                Without it, training with labels finds the rows itself, at the price of one
                synchronisation on an accelerator.
            output_logits: False, with labels: the loss is computed in chunks, and the output has
                `correct` in the place of logits, which never exist as a whole.

        The other arguments are those of `MoescopeModel.forward`.
        """
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            segment_ids=segment_ids,
            metadata_ids=metadata_ids,
            inputs_embeds=inputs_embeds,
            output_routing=output_routing,
            **kwargs,
        )
        rows = label_positions
        if rows is None and labels is not None and self.training:
            rows = (labels.reshape(-1) != -100).nonzero().squeeze(-1)
        predicted = self._predict(
            outputs.last_hidden_state, labels, rows, num_items_in_batch, output_logits
        )
        return MoescopeLMOutput(
            **predicted,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            routing=outputs.routing,
        )


class MoescopeForCausalLM(MoescopeLMHeadModel, GenerationMixin):
    """Decoder: each position predicts the next token."""

    def __init__(self, config: MoescopeConfig) -> None:
        if not config.is_causal:
            raise ValueError("a causal language model needs is_causal=True")
        super().__init__(config)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        position_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
        metadata_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        output_routing: bool = False,
        output_logits: bool = True,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> MoescopeLMOutput:
        """Predict the next token.

        Args:
            labels: (B, S), usually `input_ids`; position i is scored against label i + 1, and -100
                is left out. Loss and `output_logits` as in `MoescopeForMaskedLM`.
            logits_to_keep: without labels, logits of the last so many positions only; 0 = all.

        The other arguments are those of `MoescopeModel.forward`.
        """
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            segment_ids=segment_ids,
            metadata_ids=metadata_ids,
            inputs_embeds=inputs_embeds,
            past_key_values=past_key_values,
            use_cache=use_cache,
            output_routing=output_routing,
            **kwargs,
        )
        hidden_states = outputs.last_hidden_state
        if labels is not None:
            labels = F.pad(labels[:, 1:], (0, 1), value=-100)
        elif logits_to_keep:
            hidden_states = hidden_states[:, -logits_to_keep:]
        predicted = self._predict(hidden_states, labels, None, num_items_in_batch, output_logits)
        return MoescopeLMOutput(
            **predicted,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            routing=outputs.routing,
        )
