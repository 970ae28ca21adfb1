"""Networks as plain torch modules, and the reading of published weight files.

Importing this package costs nothing; torch is imported at the first use of a name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from covfast.errors import BackendUnavailable, describe

if TYPE_CHECKING:
    from covfast.models.checkpoint import Checkpoint, import_checkpoint
    from covfast.models.hybrid import HybridEncoderUNet
    from covfast.models.infnet import InfNet
    from covfast.models.infnet_multiclass import InfNetMultiClass
    from covfast.models.lungmask import LungUNet
    from covfast.models.miniseg import MiniSeg
    from covfast.models.multihead import MultiHeadUNet
    from covfast.models.relation import RelationUNet
    from covfast.models.topology import Topology
    from covfast.models.unet import PlainUNet, ResidualEncoderUNet

__all__ = [
    "Checkpoint",
    "HybridEncoderUNet",
    "InfNet",
    "InfNetMultiClass",
    "LungUNet",
    "MiniSeg",
    "MultiHeadUNet",
    "PlainUNet",
    "RelationUNet",
    "ResidualEncoderUNet",
    "Topology",
    "import_checkpoint",
]

_HOMES = {
    "Checkpoint": "checkpoint",
    "HybridEncoderUNet": "hybrid",
    "InfNet": "infnet",
    "InfNetMultiClass": "infnet_multiclass",
    "LungUNet": "lungmask",
    "MiniSeg": "miniseg",
    "MultiHeadUNet": "multihead",
    "PlainUNet": "unet",
    "RelationUNet": "relation",
    "ResidualEncoderUNet": "unet",
    "Topology": "topology",
    "import_checkpoint": "checkpoint",
}


def __getattr__(name: str) -> object:
    """Import the module that holds `name` on first use.

    Raises:
        AttributeError: There is no such name.
        BackendUnavailable: torch is not installed.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise BackendUnavailable(
            describe(f"covfast.models.{name}", "no torch", "torch installed", 'pip install "covfast[train]"')
        ) from error
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
