"""The metadata value under which a masked router answers a prompt: a year, a topic, any column."""

from collections.abc import Mapping
from dataclasses import dataclass

from ...configs.errors import UserError
from ...data_processors.metadata_values import value_names, value_number
from ..checkpoints.loaded_model import LoadedModel


@dataclass(frozen=True)
class AskedValue:
    """The value that a masked router is given.

    Attributes:
        label: the value asked for; None = none, every expert is permitted.
        value_id: its number in the router's `values`; −1 for none.
        value: that value's name, e.g. the period "1790–1849".
    """

    column: str
    label: str | None
    value_id: int
    value: str | None

    def describe(self) -> str:
        """Describes the value in words."""
        if self.label is None:
            return f"no {self.column} given: every expert is permitted"
        period = f" ({self.value})" if self.value != self.label else ""
        return f"{self.column}={self.label}{period}"


def router_column(model: LoadedModel) -> str | None:
    """Returns the column that the model's masked router reads; None for another router."""
    return str(model.router["column"]) if model.router.get("name") == "masked" else None


def asked_value(
    model: LoadedModel, metadata: Mapping[str, str], label: str | None
) -> AskedValue | None:
    """Returns the value that the model's router is given; None if the router reads no metadata.

    Args:
        model: the model.
        metadata: column → value as typed.
        label: a value for whatever column it is.

    Raises:
        UserError: a year outside the trained periods, or a label that the router does not know.
    """
    column = router_column(model)
    if column is None:
        return None
    asked = metadata.get(column, label)
    if asked is None:
        return AskedValue(column, None, -1, None)
    try:
        number = value_number(model.router, asked)
    except UserError as error:
        raise UserError(f"{model.path}: {error}") from error
    return AskedValue(column, asked, number, value_names(model.router)[number])
