"""Encodes a prompt as the tokens that a model reads."""

from ...configs.errors import UserError
from ...data_processors.tokenizers import MASK, TextEncoder
from ..checkpoints.loaded_model import LoadedModel


def encode_prompt(model: LoadedModel, text: str) -> list[int]:
    """Returns the ids of a prompt for this model.

    For a decoder they begin as its training texts do. For an encoder they stand between its frame
    tokens, and [MASK] is the mask. Anything else that looks like a special token is plain text.

    Raises:
        UserError: too long for the model; [MASK] for a decoder; no [MASK] for an encoder.
    """
    mask = model.tokenizer.mask_token or MASK
    pieces = text.replace(MASK, mask).split(mask)
    if model.is_causal:
        if len(pieces) > 1:
            raise UserError(
                f"prompt: has {mask}, but {model.path} is a decoder, which goes on from the end; "
                "drop it, or ask an encoder"
            )
        ids = [*model.start_ids, *_encode(model, text)]
        room = model.context - 1
    else:
        if len(pieces) == 1:
            raise UserError(
                f"prompt: {model.path} is an encoder, which fills in {mask}; put one or more into "
                "the prompt, or ask a decoder to go on from it"
            )
        ids = _encode_masked(model, pieces)
        room = model.context
    if len(ids) > room:
        leaves = " and must leave room for one more" if model.is_causal else ""
        raise UserError(
            f"prompt: {len(ids)} tokens; {model.path} reads at most {model.context}{leaves}; "
            "shorten it"
        )
    return ids


def _encode(model: LoadedModel, text: str) -> list[int]:
    return TextEncoder(model.tokenizer)([text]).input_ids.tolist()


def _encode_masked(model: LoadedModel, pieces: list[str]) -> list[int]:
    """Joins the pieces' ids by the mask; a space before it is part of what it hides."""
    mask_id = model.tokenizer.mask_token_id
    ids: list[int] = []
    for number, piece in enumerate(pieces):
        is_last = number == len(pieces) - 1
        ids += _encode(model, piece.removesuffix(" ") if model.is_spaced and not is_last else piece)
        if not is_last:
            ids.append(mask_id)
    around = model.tokenizer("").input_ids
    return [*around[:1], *ids, *around[1:]]
