"""Models: configuration, routers, experts, balance losses, encoder, decoder, conversion."""

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

from .balance import BALANCE_LOSSES, balance_losses
from .configuration_moescope import MoescopeConfig
from .convert import export_model, import_model
from .modeling_moescope import (
    MoescopeExperts,
    MoescopeForCausalLM,
    MoescopeForMaskedLM,
    MoescopeModel,
)
from .router import ROUTERS
from .routing import Router, Routing, RoutingContext
from .upcycle import upcycle

__all__ = [
    "BALANCE_LOSSES",
    "ROUTERS",
    "MoescopeConfig",
    "MoescopeExperts",
    "MoescopeForCausalLM",
    "MoescopeForMaskedLM",
    "MoescopeModel",
    "Router",
    "Routing",
    "RoutingContext",
    "balance_losses",
    "export_model",
    "import_model",
    "upcycle",
]

AutoConfig.register("moescope", MoescopeConfig, exist_ok=True)
AutoModel.register(MoescopeConfig, MoescopeModel, exist_ok=True)
AutoModelForMaskedLM.register(MoescopeConfig, MoescopeForMaskedLM, exist_ok=True)
AutoModelForCausalLM.register(MoescopeConfig, MoescopeForCausalLM, exist_ok=True)

# a saved checkpoint carries this folder's code and loads elsewhere with trust_remote_code=True
MoescopeConfig.register_for_auto_class()
MoescopeModel.register_for_auto_class("AutoModel")
MoescopeForMaskedLM.register_for_auto_class("AutoModelForMaskedLM")
MoescopeForCausalLM.register_for_auto_class("AutoModelForCausalLM")
