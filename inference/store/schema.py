"""The columns of the routing store's Parquet files, lists of counts apart."""

import pyarrow as pa

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
    pa.field("token", pa.string()),
    pa.field("sense", pa.string()),
    pa.field("spelling", pa.string()),
    pa.field("num_tokens", pa.int32()),
]
