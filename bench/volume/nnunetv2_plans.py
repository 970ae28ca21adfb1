"""nnunetv2's own managers of the plans of `result_folder`, for its stages by themselves."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import result_folder
import torch
import turns
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

VERSION = version("nnunetv2")
DATASET = {"labels": {"background": 0} | {f"class {n}": n for n in range(1, result_folder.CLASSES)}}
torch.set_num_threads(turns.threads())


def managers(**changes: Any) -> tuple[Any, Any]:
    """Its plans and configuration, with `changes` to the configuration."""
    plans = result_folder.plans(False)
    plans["configurations"]["3d_fullres"] |= changes
    manager = PlansManager(plans)
    return manager, manager.get_configuration("3d_fullres")
