"""What a routing store consists of: its files, their columns, and the axes of its tables.

docs/routing_store.md explains the store, docs/contracts.md lists every column and shape.
"""

from typing import Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, model_validator

from ...data_processors.mask_kinds import MASK_KINDS

FORMAT = 3  # a store of another format has to be recorded again
FACTS_FILE, TABLES_FILE = "store.json", "tables.safetensors"
DOCUMENTS_FILE, SAMPLE_FILE = "documents.parquet", "sample.parquet"
KNOCKOUT_FILE, SATURATION_FILE = "knockout.parquet", "saturation.parquet"
SENSES_FILE, METADATA_VALUES_FILE = "senses.parquet", "metadata_values.parquet"
KnockoutMode = Literal["none", "top", "all"]

# the scalar columns of each Parquet file; lists of counts, experts and weights come beside them
DOCUMENT_FIELDS = [
    pa.field("document", pa.int32()),
    pa.field("id", pa.string()),
    pa.field("topic", pa.string()),
    pa.field("topic_id", pa.int32()),
    pa.field("date", pa.date32()),
    pa.field("source", pa.string()),
    pa.field("group", pa.string()),
    pa.field("num_tokens", pa.int32()),
    pa.field("loss", pa.float32()),
    pa.field("num_labels", pa.int32()),
    pa.field("num_untouched", pa.int32()),
    pa.field("num_masked", pa.int32()),
]
SAMPLE_FIELDS = [
    pa.field("document", pa.int32()),
    pa.field("position", pa.int32()),
    pa.field("token_id", pa.int32()),
    pa.field("input_id", pa.int32()),
    pa.field("mask_kind", pa.int8()),
    pa.field("loss", pa.float32()),
    pa.field("predicted_id", pa.int32()),
]
KNOCKOUT_FIELDS = [
    pa.field("layer", pa.int32()),
    pa.field("expert", pa.int32()),
    pa.field("kind", pa.string()),
    pa.field("chosen_for", pa.int32()),
    pa.field("load", pa.float64()),
    pa.field("document", pa.int32()),
    pa.field("loss_change", pa.float64()),
    pa.field("num_labels", pa.int32()),
]
SATURATION_FIELDS = [
    pa.field("step", pa.int32()),
    pa.field("layer", pa.int32()),
    pa.field("document", pa.int32()),
    pa.field("shared", pa.int32()),
    pa.field("chosen", pa.int32()),
]
METADATA_VALUE_FIELDS = [
    pa.field("document", pa.int32()),
    pa.field("own", pa.int16()),
    pa.field("given", pa.int16()),
    pa.field("loss", pa.float64()),
    pa.field("num_labels", pa.int32()),
]
SENSE_FIELDS = [
    pa.field("text", pa.int32()),
    pa.field("group", pa.string()),
    pa.field("token", pa.string()),
    pa.field("sense", pa.string()),
    pa.field("spelling", pa.string()),
    pa.field("num_tokens", pa.int32()),
]


class StoreFacts(BaseModel):
    """What store.json says: the axes of the tables, and how the store was recorded.

    Attributes:
        layers: number of each MoE layer in the model, in the order of every L axis.
        top_k: experts per token. Capacity or a mask may leave a token fewer; where experts choose
            their tokens, it is the mean.
        topics: names; a topic's id is its place here.
        mask_kinds: names, in the order of every S axis.
        num_tokens: tokens recorded, special tokens included and padding left out.
        types: token ids with a row of their own; the last row of type tables holds all others.
        type_strings: readable text of each type, "other" last.
        token_classes: names, in the order of the C axis.
        type_classes: index into `token_classes` of each type.
        position_edges: first position of each bin, in tokens from the start of the window.
        places: (mask kind, name) of each row of the place tables: position bins of untouched and
            of masked tokens ("0–7"), then special tokens ("[CLS]").
        target: which token the rows of `target_expert` stand for: the one under the mask, or the
            next one.
        model: the checkpoint's folder or name.
        loading: how its weights were loaded where it was not as they are: `dtype`, `quantization`
            (asked for, or the checkpoint's own), `adapter`.
        split: of the dataset.
        knockout: which experts were knocked out.
        snapshots: training steps whose choices were compared with the final ones.
        senses: tokens whose routing by sense was recorded.
        metadata_column: the column that a masked router reads; None for other routers.
        metadata_values: names of its values, if every document was measured under each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    layers: list[int]
    num_experts: int
    top_k: int
    topics: list[str]
    mask_kinds: list[str] = list(MASK_KINDS)
    num_tokens: int
    num_documents: int
    types: list[int]
    type_strings: list[str]
    token_classes: list[str]
    type_classes: list[int]
    position_edges: list[int]
    places: list[tuple[str, str]] = []
    target: Literal["masked", "next"] = "masked"
    model: str
    loading: dict[str, str] = {}
    split: str
    knockout: KnockoutMode = "none"
    snapshots: list[int] = []
    senses: list[str] = []
    metadata_column: str | None = None
    metadata_values: list[str] = []

    @model_validator(mode="after")
    def _type_lists_agree(self) -> "StoreFacts":
        if not len(self.types) == len(self.type_classes) == len(self.type_strings) - 1:
            raise ValueError("types, type_strings (one more) and type_classes disagree in length")
        return self

    def table_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of every table, by name."""
        L, E, T = len(self.layers), self.num_experts, len(self.topics)
        S, C = len(self.mask_kinds), len(self.token_classes)
        V, K = len(self.types) + 1, len(self.places)
        return {
            "topic_mask_kind_expert": (T, S, L, E),
            "topic_mask_kind_tokens": (T, S),
            "topic_mask_kind_entropy": (T, S, L),
            "topic_mask_kind_mass": (T, S, L),
            "topic_mask_kind_margin": (T, S, L),
            "type_expert": (V, L, E),
            "type_tokens": (V,),
            "target_expert": (V, L, E),
            "target_tokens": (V,),
            "class_expert": (C, L, E),
            "class_tokens": (C,),
            "coactivation": (L, E, E),
            "transition": (max(L - 1, 0), E, E),
            "place_expert": (K, L, E),
            "place_tokens": (K,),
            "place_entropy": (K, L),
            "dropped": (L,),
        }
