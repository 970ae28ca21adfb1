"""lungmask: its own inference on torch's CPU."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import torch
import turns
from lungmask.mask import LMInferer

NAME, VERSION, IS_SLOW = "lungmask", version("lungmask"), True


def work(case: Any) -> turns.Work:
    torch.set_num_threads(turns.threads())
    inferer = LMInferer(modelpath=str(case.weights), force_cpu=True, tqdm_disable=True)
    return lambda: inferer.apply(case.hu)
