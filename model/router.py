"""The routers by name. To add one, write its class in a file of its own and add a line here."""

from difflib import get_close_matches
from typing import Any

from .router_capacity import GShardRouter, SwitchRouter
from .router_expert_choice import ExpertChoiceRouter
from .router_hash import HashRouter
from .router_masked import MaskedRouter
from .router_noisy import NoisyTopKRouter
from .router_sigmoid import SigmoidRouter
from .router_topk import TopKRouter
from .routing import Router

ROUTERS: dict[str, type[Router]] = {
    "topk": TopKRouter,
    "switch": SwitchRouter,
    "gshard": GShardRouter,
    "noisy_topk": NoisyTopKRouter,
    "sigmoid": SigmoidRouter,
    "expert_choice": ExpertChoiceRouter,
    "masked": MaskedRouter,
    "hash": HashRouter,
}


def nearest(name: object, names: list[str]) -> str:
    """Returns `did you mean "x"?` for a near miss, else the list of names."""
    close = get_close_matches(str(name), names, n=1)
    return f'did you mean "{close[0]}"?' if close else f"choose from {', '.join(names)}"


def check_router(config: Any) -> None:
    """Raise ValueError when `config.router` names an unknown router or parameter, or misfits."""
    name = config.router.get("name")
    if name not in ROUTERS:
        raise ValueError(f"router.name={name!r} is not known; {nearest(name, list(ROUTERS))}")
    router = ROUTERS[name]
    known = router.parameters_with_defaults
    for key in config.router:
        if key != "name" and key not in known:
            hint = nearest(key, list(known)) if known else "it has no parameters"
            raise ValueError(f'router "{name}" has no parameter {key!r}; {hint}')
    router.check(config, known | config.router)
