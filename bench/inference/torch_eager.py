"""torch, eager, as users of nnU-Net, lungmask and MiniSeg run it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import torch

KINDS = {"fp32": "torch eager fp32"}


def versions() -> dict[str, str]:
    return {"torch": torch.__version__}


def prepare(name: str, kind: str, threads: int, folder: Path, is_small: bool) -> Callable[[Any], Any]:
    """The network as a function of one array."""
    torch.set_num_threads(threads)
    module = networks.NETWORKS[name].module()

    def run(x: Any) -> Any:
        with torch.inference_mode():
            return module(torch.from_numpy(x)).numpy()

    return run
