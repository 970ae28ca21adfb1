"""covfast.SlidingWindow with a network of NumPy's arrays, which takes windows as views of the volume."""

from __future__ import annotations

from stitch_covfast import VERSION, window
from windows import Banded, Case, Labels, Repeated

NAME, IS_SLOW = "covfast of arrays", False
__all__ = ["IS_SLOW", "NAME", "VERSION", "labels"]


def labels(case: Case, network: Repeated | Banded) -> Labels:
    return window(case.window, case.step)(case.volume.numpy(), network.of_arrays)
