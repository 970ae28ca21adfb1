"""MONAI: sliding_window_inference, and torch's argmax as its AsDiscrete takes it."""

from __future__ import annotations

import monai
import torch
from monai.inferers import sliding_window_inference
from windows import Case, Labels, threads

NAME, VERSION, IS_SLOW = "MONAI", monai.__version__, True
torch.set_num_threads(threads())


@torch.inference_mode()
def labels(case: Case, network: torch.nn.Module) -> Labels:
    logits = sliding_window_inference(
        case.volume[None], case.window, 1, network, overlap=1 - case.step, mode="gaussian", sigma_scale=0.125
    )
    found: Labels = logits[0].argmax(0).to(torch.uint8).numpy()
    return found
