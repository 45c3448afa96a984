"""Config of `moescope plan`."""

from typing import Literal

from pydantic import Field

from .section import Section


class Plan(Section):
    """On what a training is to run."""

    device: Literal["h100", "h200", "a100", "a100_40gb", "l40s", "l4", "rtx4090", "cpu"] = Field(
        description="the device, by its data sheet; cpu = this machine, measured for a second"
    )
    devices: int = Field(
        ge=1, le=100_000, description="how many of them train together, one process on each"
    )
    utilisation: float = Field(
        gt=0, le=1, description="share of the device's peak that the products reach (an assumption)"
    )
