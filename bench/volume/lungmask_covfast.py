"""covfast: lungmask's weight file as a package."""

from __future__ import annotations

from typing import Any

import turns

import covfast

NAME, VERSION, IS_SLOW = "covfast", covfast.__version__, False


def work(case: Any) -> turns.Work:
    package = case.weights.with_suffix(".covfast")
    covfast.import_checkpoint(case.weights).export(package)
    segmenter = covfast.Segmenter(package, device="cpu", threads=turns.threads())
    return lambda: segmenter((case.hu, (1.2, 0.8, 0.8))).labels
