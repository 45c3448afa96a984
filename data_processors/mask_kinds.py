"""The kinds of positions that masking leaves; imports nothing heavy."""

from enum import IntEnum


class MaskKind(IntEnum):
    """What masking did to a position.

    The dataset's `mask_kind` column, the batches and the routing store all hold these numbers;
    `MASK_KINDS` has their names.
    """

    PADDING = -1  # in batches alone
    UNTOUCHED = 0
    MASKED = 1  # [MASK] stands there
    REPLACED = 2  # a random token stands there
    KEPT = 3  # selected, and left as it was
    SPECIAL = 4  # a special token, which is never selected


MASK_KINDS = tuple(kind.name.lower() for kind in MaskKind if kind != MaskKind.PADDING)
"""Name of each kind of a real token; its place is the kind's number."""
