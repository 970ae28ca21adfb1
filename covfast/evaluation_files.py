"""The files of a case to evaluate: two label maps or pictures, and the probability map."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast.errors import Cancelled, FormatError, describe, file_name
from covfast.io import is_picture, read_labels, read_picture, read_probability, resample_labels
from covfast.io.pairs import CasePair
from covfast.volume import Segmentation

Image = Segmentation | npt.NDArray[np.uint8]
"""A label map on its grid, or the (H, W) grey values of a picture."""

MOST_LABEL = 10
"""An 8-bit probability map without any value above this is taken for a label map."""


def read_pair(pair: CasePair, resample: bool = False, stop: threading.Event | None = None) -> tuple[Image, Image, bool]:
    """The label maps of a pair, and whether the prediction had to be resampled onto the reference's grid.

    Raises: FormatError: unreadable, no label map, or a picture against a volume; GeometryError: grids that differ, or
        that cannot be resampled; Cancelled: `stop` was set between the files.
    """
    kinds = is_picture(pair.reference), is_picture(pair.prediction)
    if kinds[0] != kinds[1]:
        got = f"{file_name(pair.reference)} and {file_name(pair.prediction)}"
        raise FormatError(describe("reference and prediction", got, "two pictures or two volumes"))
    if kinds[0]:
        return read_picture(pair.reference), read_picture(pair.prediction), False
    truth = read_labels(pair.reference)
    go_on(stop)
    predicted = read_labels(pair.prediction)
    go_on(stop)
    if not resample or truth.geometry.canonical().is_close(predicted.geometry.canonical()):
        return truth, predicted, False
    return truth, resample_labels(predicted, truth.geometry), True


def go_on(stop: threading.Event | None) -> None:
    """Raises: Cancelled: `stop` was set."""
    if stop is not None and stop.is_set():
        raise Cancelled("evaluate: cancelled")


def read_map(pair: CasePair) -> Any:
    """The probability map: uint8 grey values of a picture, else a Volume. Raises: FormatError: unreadable or absent."""
    if pair.probability is None:
        raise FormatError(describe("probability", f"no map called {pair.case}", "one for each case"))
    return read_picture(pair.probability) if is_picture(pair.probability) else read_probability(pair.probability)


def is_like_labels(chances: Any) -> bool:
    """True if 8-bit values, as they were read, are not 0 alone and all at most `MOST_LABEL`."""
    most = float(chances.max()) if isinstance(chances, np.ndarray) else 255.0 * float(chances.hu.max())
    return 0 < most < MOST_LABEL + 0.5 and abs(most - round(most)) < 1e-3
