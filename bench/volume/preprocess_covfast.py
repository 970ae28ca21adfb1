"""covfast: what its recipes do before the network."""

from __future__ import annotations

from typing import Any

import result_folder
import turns

import covfast
from covfast import _core

NAME, VERSION, IS_SLOW = "covfast", covfast.__version__, False
CLIP = 1  # the scheme's number in the binding


def work(case: Any) -> turns.Work:
    intensities = result_folder.plans(False)["foreground_intensity_properties_per_channel"]["0"]
    low, high = intensities["percentile_00_5"], intensities["percentile_99_5"]
    norm = (CLIP, False, low, high, intensities["mean"], intensities["std"])

    def prepare() -> Any:
        begin, end = _core.nonzero_box([case.hu], turns.threads())
        sizes = [b - a for a, b in zip(begin, end, strict=True)]
        ratios = zip(case.spacing_mm, case.target_mm, sizes, strict=True)
        size = [round(have / want * n) for have, want, n in ratios]
        plan = (begin, end, size, [3, 3, 3], -1, True)
        return _core.prepare_input([case.hu], [norm], plan, turns.threads())

    return prepare
