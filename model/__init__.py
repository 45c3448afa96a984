"""Models: configuration, routers, experts, balance losses, encoder."""

from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

from .balance import BALANCE_LOSSES, balance_losses
from .configuration_moescope import MoescopeConfig
from .modeling_moescope import MoescopeExperts, MoescopeForMaskedLM, MoescopeModel
from .router import ROUTERS
from .routing import Router, Routing, RoutingContext

__all__ = [
    "BALANCE_LOSSES",
    "ROUTERS",
    "MoescopeConfig",
    "MoescopeExperts",
    "MoescopeForMaskedLM",
    "MoescopeModel",
    "Router",
    "Routing",
    "RoutingContext",
    "balance_losses",
]

AutoConfig.register("moescope", MoescopeConfig, exist_ok=True)
AutoModel.register(MoescopeConfig, MoescopeModel, exist_ok=True)
AutoModelForMaskedLM.register(MoescopeConfig, MoescopeForMaskedLM, exist_ok=True)
