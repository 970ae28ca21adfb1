"""nnunetv2: its default preprocessor."""

from __future__ import annotations

from typing import Any

import nnunetv2_plans
import numpy as np
import turns
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

NAME, VERSION, IS_SLOW = "nnunetv2", nnunetv2_plans.VERSION, True


def work(case: Any) -> turns.Work:
    data = case.hu[None].astype(np.float32)  # as its reader gives it
    plans, configuration = nnunetv2_plans.managers(spacing=list(case.target_mm))

    def prepare() -> Any:
        properties = {"spacing": list(case.spacing_mm)}
        preprocessor = DefaultPreprocessor(verbose=False)
        return preprocessor.run_case_npy(data, None, properties, plans, configuration, nnunetv2_plans.DATASET)[0]

    return prepare
