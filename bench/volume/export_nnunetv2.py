"""nnunetv2: from logits to labels by its default resampling."""

from __future__ import annotations

from typing import Any

import nnunetv2_plans
import torch
import turns
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape

NAME, VERSION, IS_SLOW = "nnunetv2, default", nnunetv2_plans.VERSION, True


def work(case: Any, **changes: Any) -> turns.Work:
    logits = torch.from_numpy(case.logits)
    plans, configuration = nnunetv2_plans.managers(spacing=list(case.spacing_mm), **changes)
    properties = {
        "spacing": list(case.original_mm),
        "shape_before_cropping": case.shape,
        "shape_after_cropping_and_before_resampling": case.shape,
        "bbox_used_for_cropping": [[0, n] for n in case.shape],
    }

    def export() -> Any:
        return convert_predicted_logits_to_segmentation_with_correct_shape(
            logits,
            plans,
            configuration,
            plans.get_label_manager(nnunetv2_plans.DATASET),
            properties,
            num_threads_torch=turns.threads(),
        )

    return export
