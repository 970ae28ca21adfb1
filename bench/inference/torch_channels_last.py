"""torch with module and input in channels_last (channels_last_3d), eager."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import torch

KINDS = {"fp32": "torch channels_last fp32"}


def versions() -> dict[str, str]:
    return {"torch": torch.__version__}


def prepare(name: str, kind: str, threads: int, folder: Path, is_small: bool) -> Callable[[Any], Any]:
    """The network as a function of one array."""
    torch.set_num_threads(threads)
    flat = len(networks.NETWORKS[name].shape) == 4
    layout = torch.channels_last if flat else torch.channels_last_3d
    module = networks.NETWORKS[name].module().to(memory_format=layout)

    def run(x: Any) -> Any:
        with torch.inference_mode():
            return module(torch.from_numpy(x).to(memory_format=layout)).numpy()

    return run
