"""covfast.SlidingWindow with a network of torch: labels while the windows come in. One object serves all calls."""

from __future__ import annotations

import functools

import torch
from windows import Case, Labels, threads

import covfast

NAME, VERSION, IS_SLOW = "covfast", covfast.__version__, False
torch.set_num_threads(threads())


@functools.cache
def window(size: tuple[int, int, int], step: float) -> covfast.SlidingWindow:
    """As for a folder of cases."""
    return covfast.SlidingWindow(size, step=step, threads=threads())


@torch.inference_mode()
def labels(case: Case, network: torch.nn.Module) -> Labels:
    return window(case.window, case.step)(case.volume, network)
