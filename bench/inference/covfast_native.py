"""covfast's native engine from a model package: fp32, direct convolutions only ("exact"), bf16, int8."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import covfast
from covfast.engines import PRECISIONS

KINDS = {"fp32": "covfast fp32", "exact": "covfast fp32, direct", "bf16": "covfast bf16", "int8": "covfast int8"}
KINDS = {kind: text for kind, text in KINDS.items() if kind == "exact" or kind in PRECISIONS}


def versions() -> dict[str, str]:
    return {"covfast": covfast.__version__}


def prepare(name: str, kind: str, threads: int, folder: Path, is_small: bool) -> Callable[[Any], Any]:
    """The network as a function of one array."""
    return open_file(folder / f"{name}.covfast", kind, threads)


def open_file(path: Path, kind: str, threads: int) -> Callable[[Any], Any]:
    """A model package as a function of one array."""
    if kind == "exact":
        return covfast.load(path, device="cpu", threads=threads, exact=True)
    return covfast.load(path, device="cpu", threads=threads, precision=kind)


def write(name: str, folder: Path) -> Path:
    """Export the network to a package; a file that is there is kept."""
    import networks

    path, network = folder / f"{name}.covfast", networks.NETWORKS[name]
    if not path.exists():
        covfast.export(network.module(), path, network.small, multiple=network.multiple)
    return path
