"""moescope: train mixture-of-experts transformers, and test honestly what their experts do."""

from importlib import import_module
from typing import Any

_HOMES = {  # name → module; read when asked for, since most take seconds to import
    "register_balance_loss": "registration",
    "register_chapter": "registration",
    "register_masking": "registration",
    "register_router": "registration",
    "register_source": "registration",
    "register_token_class": "registration",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
