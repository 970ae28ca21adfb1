"""nnunetv2: from logits to labels by resample_torch_fornnunet, as its planners with "torchres" in their name choose."""

from __future__ import annotations

from typing import Any

import export_nnunetv2
import turns

NAME, VERSION, IS_SLOW = "nnunetv2, resample_torch", export_nnunetv2.VERSION, True


def work(case: Any) -> turns.Work:
    arguments = {
        "is_seg": False,
        "force_separate_z": False,
        "memefficient_seg_resampling": False,
        "num_threads": turns.threads(),
    }
    return export_nnunetv2.work(
        case,
        resampling_fn_probabilities="resample_torch_fornnunet",
        resampling_fn_probabilities_kwargs=arguments,
    )
