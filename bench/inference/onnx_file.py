"""The ONNX file of a network at one size, for the runtimes that read one."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import networks


def path_of(name: str, folder: Path, is_small: bool, batch: int = 1) -> Path:
    """Where `write` puts it."""
    return folder / f"{name}{'_small' if is_small else ''}{f'_batch{batch}' if batch > 1 else ''}.onnx"


def write(name: str, folder: Path, is_small: bool, batch: int = 1) -> Path:
    """Export by torch's dynamo exporter, static shapes; a file that is there is kept."""
    import torch

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of every package that is not there
    path = path_of(name, folder, is_small, batch)
    if not path.exists():
        network = networks.NETWORKS[name]
        x = torch.from_numpy(network.input(is_small)).repeat(batch, *[1] * (len(network.shape) - 1))
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            torch.onnx.export(network.module(), (x,), path, dynamo=True, verbose=False, external_data=False)
    return path
