"""covfast.SlidingWindow: labels while the windows come in."""

from __future__ import annotations

import torch
from windows import Case, Labels, threads

import covfast

NAME, VERSION, IS_SLOW = "covfast", covfast.__version__, False
torch.set_num_threads(threads())


@torch.inference_mode()
def labels(case: Case, network: torch.nn.Module) -> Labels:
    return covfast.SlidingWindow(case.window, step=case.step, threads=threads())(case.volume, network)
