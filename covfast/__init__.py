"""covfast: from a chest CT to lung and infection masks, measurements and metrics. Research use only.

Names are loaded when first used, so that ``import covfast`` costs little more than NumPy and touches no device.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

from covfast.errors import (
    BackendUnavailable,
    Cancelled,
    CovfastError,
    DeviceError,
    DTypeError,
    FormatError,
    GeometryError,
    MemoryLimitError,
    NoLungsError,
    OutputError,
    ShapeError,
    ValueRangeError,
    WeightsError,
)
from covfast.volume import LABELS, Geometry, Segmentation, Volume

if TYPE_CHECKING:
    from covfast import evaluation, io, metrics, models, ops, phantom, protocols, train
    from covfast.engines import Network, load
    from covfast.export import export
    from covfast.info import backends, info
    from covfast.io import inspect, read, write
    from covfast.models.checkpoint import import_checkpoint
    from covfast.pipeline import Result, Segmenter, segment_slice
    from covfast.sliding import SlidingWindow

__version__ = "0.1.0"

_MODULES = ("evaluation", "io", "metrics", "models", "ops", "phantom", "protocols", "train")
_NAMES = {
    "Network": "covfast.engines",
    "Result": "covfast.pipeline",
    "Segmenter": "covfast.pipeline",
    "SlidingWindow": "covfast.sliding",
    "backends": "covfast.info",
    "export": "covfast.export",
    "import_checkpoint": "covfast.models.checkpoint",
    "info": "covfast.info",
    "inspect": "covfast.io",
    "load": "covfast.engines",
    "read": "covfast.io",
    "segment_slice": "covfast.pipeline",
    "write": "covfast.io",
}


class _Package(types.ModuleType):
    """This package. Importing `covfast.info` would put the module in the place of the function of its name."""

    def __setattr__(self, name: str, value: Any) -> None:
        is_taken = _NAMES.get(name) == f"covfast.{name}" and isinstance(value, types.ModuleType)
        super().__setattr__(name, getattr(value, name) if is_taken else value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"covfast.{name}")
    if name in _NAMES:
        value = getattr(importlib.import_module(_NAMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'covfast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [  # noqa: RUF022 - grouped: data, work, errors
    "LABELS",
    "Geometry",
    "Network",
    "Result",
    "Segmentation",
    "Segmenter",
    "SlidingWindow",
    "Volume",
    "backends",
    "evaluation",
    "export",
    "import_checkpoint",
    "info",
    "inspect",
    "io",
    "load",
    "metrics",
    "models",
    "ops",
    "phantom",
    "protocols",
    "read",
    "segment_slice",
    "train",
    "write",
    "BackendUnavailable",
    "Cancelled",
    "CovfastError",
    "DTypeError",
    "DeviceError",
    "FormatError",
    "GeometryError",
    "MemoryLimitError",
    "NoLungsError",
    "OutputError",
    "ShapeError",
    "ValueRangeError",
    "WeightsError",
]
