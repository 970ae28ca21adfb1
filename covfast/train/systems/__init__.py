"""The published systems: what each trains, on what, with which loss and schedule.

Each module has a `run(context)` that carries the whole training out, in one stage or several, and returns the network
that is kept. Importing this package costs nothing; a system's module needs torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from torch import nn

    from covfast.train.systems.stage import Context

HOMES = {
    "miniseg-infection": "miniseg_infection",
    "miniseg-lung": "miniseg_lung",
    "miniseg-lesions": "miniseg_lesions",
    "miniseg": "miniseg",
    "infnet": "infnet",
    "semi-infnet": "semi_infnet",
    "infnet-multiclass": "infnet_multiclass",
    "unet": "unet",
    "transfer": "transfer",
    "relation": "relation",
}
"""System -> module here."""


def run_system(context: Context) -> nn.Module:
    """Train the system of the context's recipe; resumes what a killed run left."""
    module = import_module(f"{__name__}.{HOMES[context.table['system']]}")
    return cast("nn.Module", module.run(context))
