"""covfast, with resampled logits rounded to half precision as nnunetv2 stores them."""

from __future__ import annotations

from typing import Any

import numpy as np
import turns

import covfast
from covfast import resample_ops

NAME, VERSION, IS_SLOW = "covfast, rounded to half", covfast.__version__, False


def work(case: Any) -> turns.Work:
    logits = case.logits.astype(np.float32)
    return lambda: resample_ops.resample_labels(
        logits, case.shape, round_to_half=True, device="cpu", threads=turns.threads()
    )
