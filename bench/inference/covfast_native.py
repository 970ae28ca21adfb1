"""covfast's native engine from a model package: fp32, direct convolutions only ("exact"), bf16, calibrated int8."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import numpy as np

import covfast

KINDS = {"fp32": "covfast fp32", "exact": "covfast fp32, direct", "bf16": "covfast bf16", "int8": "covfast int8"}


def versions() -> dict[str, str]:
    return {"covfast": covfast.__version__}


def prepare(name: str, kind: str, threads: int, folder: Path, is_small: bool) -> Callable[[Any], Any]:
    """The network as a function of one array."""
    path = folder / f"{name}.covfast"
    if kind == "int8":
        samples = np.concatenate(networks.NETWORKS[name].calibration(is_small))
        return covfast.load(path, device="cpu", threads=threads, precision="int8", calibration=samples)
    return open_file(path, kind, threads)


def open_file(path: Path, kind: str, threads: int) -> Callable[[Any], Any]:
    """A model package as a function of one array."""
    if kind == "exact":
        return covfast.load(path, device="cpu", threads=threads, exact=True)
    return covfast.load(path, device="cpu", threads=threads, precision=kind)


def write(name: str, folder: Path) -> Path:
    """Export the network to a package; a file that is there is kept."""
    path, network = folder / f"{name}.covfast", networks.NETWORKS[name]
    if not path.exists():
        covfast.export(network.module(), path, network.small, multiple=network.multiple)
    return path
