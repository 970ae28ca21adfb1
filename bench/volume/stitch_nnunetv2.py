"""nnunetv2: its predictor's sliding window on the CPU, in half precision, and its argmax."""

from __future__ import annotations

from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
import torch
from nnunetv2.inference import predict_from_raw_data
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from windows import CHANNELS, Case, Labels, threads

NAME, VERSION, IS_SLOW = "nnunetv2", version("nnunetv2"), True
torch.set_num_threads(threads())


def labels(case: Case, network: torch.nn.Module) -> Labels:
    predictor = predict_from_raw_data.nnUNetPredictor(
        tile_step_size=case.step,
        use_mirroring=False,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    predict_from_raw_data.compute_gaussian.cache_clear()  # as before a case
    predictor.network = network
    predictor.configuration_manager = SimpleNamespace(patch_size=case.window)
    classes = {"background": 0} | {f"class {n}": n for n in range(1, CHANNELS)}
    predictor.label_manager = LabelManager(classes, None)
    logits = predictor.predict_sliding_window_return_logits(case.volume)
    found: Labels = np.asarray(predictor.label_manager.convert_logits_to_segmentation(logits)).astype(np.uint8)
    return found
