"""covfast: logits resampled, compared and forgotten a row at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import turns

import covfast
from covfast import resample_ops

NAME, VERSION, IS_SLOW = "covfast", covfast.__version__, False


def work(case: Any) -> turns.Work:
    logits = case.logits.astype(np.float32)  # as it holds them
    return lambda: resample_ops.resample_labels(logits, case.shape, device="cpu", threads=turns.threads())
