"""How a checkpoint is put into memory: its precision, its devices, its quantisation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING as METHODS
from transformers.quantizers.auto import AutoQuantizationConfig

from ...configs.errors import UserError, unknown_choice
from ...configs.schema_report import Route


@dataclass(frozen=True)
class Loading:
    """What `from_pretrained` is told beside the checkpoint's name.

    Attributes:
        dtype: precision of the weights; None = as transformers decides, the checkpoint's own.
        device_map: what accelerate spreads the modules by; None = all on one device.
        quantization: a method's name, or its settings with `quant_method`; None = as it is.
        adapter: folder of a PEFT adapter that is merged into the weights; None = as they are.
        offload_dir: for the modules that the map puts on disk.
    """

    dtype: str | None = None
    device_map: str | dict[str, str | int] | None = None
    quantization: str | dict[str, Any] | None = None
    offload_dir: Path | None = None
    adapter: Path | None = None

    @classmethod
    def of_route(cls, settings: Route, offload_dir: Path | None) -> "Loading":
        """Reads the settings of the route stage."""
        return cls(
            *(settings.dtype, settings.device_map, settings.quantization),
            *(offload_dir, settings.adapter),
        )

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments of `from_pretrained`.

        Raises:
            UserError: a method of quantisation that transformers does not have.
        """
        arguments: dict[str, Any] = {}
        if self.dtype is not None:
            arguments["dtype"] = self.dtype
        if self.device_map is not None:
            arguments |= {"device_map": self.device_map, "offload_folder": self.offload_dir}
        if self.quantization is not None:
            arguments["quantization_config"] = self._quantization()
        return arguments

    def described(self, network: PreTrainedModel) -> dict[str, str]:
        """Says how the weights of a model were loaded, where it was not as they are."""
        own = getattr(network.config, "quantization_config", None)
        own = (
            own.get("quant_method") if isinstance(own, dict) else getattr(own, "quant_method", None)
        )
        own = getattr(own, "value", own)
        told = {
            "dtype": self.dtype,
            "quantization": self.method if self.quantization is not None else own,
            "adapter": self.adapter,
        }
        return {name: str(value) for name, value in told.items() if value is not None}

    @property
    def method(self) -> str:
        """Names the method of quantisation."""
        settings = self.quantization
        return str(settings.get("quant_method") if isinstance(settings, dict) else settings)

    @property
    def places_modules(self) -> bool:
        """Whether the weights are where they belong once loaded, and must not be moved."""
        return self.device_map is not None or self.quantization is not None

    def _quantization(self) -> Any:
        settings, method = self.quantization, self.method
        values = dict(settings) if isinstance(settings, dict) else {"quant_method": settings}
        if method not in METHODS and method != "bitsandbytes":
            raise unknown_choice("route.quantization", method, METHODS)
        try:
            return AutoQuantizationConfig.from_dict(values)
        except Exception as error:  # each method checks its settings and packages in its own way
            raise UserError(
                f"route.quantization={method}: {package_line(error, method)}"
            ) from error


def input_device(network: PreTrainedModel) -> torch.device:
    """Returns where a model wants its inputs; one that is spread out begins on its main device."""
    if network.device.type != "meta":
        return network.device
    places = [p for p in (getattr(network, "hf_device_map", None) or {}).values() if p != "disk"]
    return torch.device(places[0] if places else "cpu")


def one_line(error: BaseException) -> str:
    """Returns what a library says, in one line that is not too long."""
    said = " ".join(str(error).split())
    return said if len(said) <= 300 else f"{said[:300]}…"


def package_line(error: Exception, method: str) -> str:
    """Says in one line why a method cannot be used; a missing package with its pip command."""
    said = one_line(error)
    missing = isinstance(error, ImportError) and "GPU" not in said
    if missing and "pip install" not in said:
        name = getattr(error, "name", None) or method
        return f"{said.rstrip('.')}; pip install {name}"
    return said
