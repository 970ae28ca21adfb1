"""Expert masks for the pseudo-labelled slices, found by image registration.

The 1217 slices of COVID-SemiSeg's Pseudo-label folder keep the scanner's contrast, but their masks are the output of a
network. The 599 slices of coronacases_png come from the same 20 volumes with expert masks, but their contrast is
equalised. Slices of both sets that show the same anatomy are found by normalised cross-correlation, so that the experts
lend their masks to the natural contrast. The file numbers of coronacases_png count the infected slices of a volume, so
pseudo slice j lies at number j + offset, and slices beyond the numbers of its case have no infection.
"""

# torch is not followed by the type checker: its classes and functions are Any.
# mypy: no-warn-return-any

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from covfast.errors import FormatError, describe

Float = npt.NDArray[np.float32]

GRID = 256
"""Rows and columns of a coronacases_png slice: the whole CT slice, squeezed."""


@dataclass(frozen=True)
class Case:
    """One volume: its file numbers in coronacases_png and how its pseudo-label slices lie in them.

    Attributes:
        first, last: Smallest and largest file number.
        rows, columns: Size of the CT slice in pixels of the pseudo-label slices.
        pattern: Part of the pseudo-label file names.
    """

    first: int
    last: int
    rows: int
    columns: int
    pattern: str


CASES = {
    "coronacases_001": Case(0, 158, 512, 512, "coronacases_org_001_"),
    "coronacases_003": Case(279, 396, 512, 512, "coronacases_org_003_"),
    "coronacases_004": Case(397, 509, 512, 512, "coronacases_org_004_"),
    "coronacases_006": Case(626, 695, 512, 512, "coronacases_org_006_"),
    "coronacases_007": Case(696, 788, 512, 512, "coronacases_org_007_"),
    "coronacases_009": Case(970, 1080, 512, 512, "coronacases_org_009_"),
    "coronacases_010": Case(1081, 1246, 512, 512, "coronacases_org_010_"),
    "radiopaedia_10_85902_1": Case(1247, 1262, 630, 630, "10_85902_1-dcm"),
    "radiopaedia_10_85902_3": Case(1263, 1378, 630, 630, "10_85902_3-dcm"),
    "radiopaedia_14_85914_0": Case(1379, 1447, 401, 630, "14_85914_0-dcm"),
    "radiopaedia_27_86410_0": Case(1448, 1474, 630, 630, "27_86410_0-dcm"),
    "radiopaedia_29_86491_1": Case(1478, 1485, 630, 630, "29_86491_1-dcm"),
    "radiopaedia_36_86526_0": Case(1486, 1516, 630, 630, "36_86526_0-dcm"),
    "radiopaedia_40_86625_0": Case(1517, 1573, 630, 630, "40_86625_0-dcm"),
    "radiopaedia_4_85506_1": Case(1574, 1587, 630, 630, "4_85506_1-dcm"),
    "radiopaedia_7_85703_0": Case(1588, 1613, 630, 630, "7_85703_0-dcm"),
}
"""Volumes of both sets. Number ranges: from the counts of infected slices, refined by the registration itself."""


def upright(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A pseudo-label slice, stored transposed, as it lies in coronacases_png (in every volume the same turn)."""
    return np.ascontiguousarray(pixels.T[::-1])


def window_sums(stack: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Sums of (D, H, W) float64 over every rows x columns window: (D, H - rows + 1, W - columns + 1)."""
    total = torch.nn.functional.pad(stack.cumsum(1).cumsum(2), (1, 0, 1, 0))
    strips = total[:, rows:] - total[:, :-rows]
    return strips[:, :, columns:] - strips[:, :, :-columns]


def correlation(template: Float, stack: Float) -> Float:
    """Normalised cross-correlation of a template with every window of every slice.

    ncc = sum (t - mean t) (w - mean w) / sqrt(sum (t - mean t)^2 sum (w - mean w)^2) for template t and window w.

    Args:
        template: (h, w) float32.
        stack: (D, H, W) float32 with H >= h and W >= w.

    Returns:
        (D, H - h + 1, W - w + 1) float32 in [-1, 1].
    """
    image = torch.from_numpy(stack).double()
    t = torch.from_numpy(template).double()
    t = t - t.mean()
    size = image.shape[1:]
    kernel = torch.zeros(size, dtype=torch.float64)
    kernel[: t.shape[0], : t.shape[1]] = t
    product = torch.fft.rfft2(image) * torch.fft.rfft2(kernel).conj()
    dot = torch.fft.irfft2(product, s=size)[:, : size[0] - t.shape[0] + 1, : size[1] - t.shape[1] + 1]
    sums = window_sums(image, *t.shape)
    spread = window_sums(image**2, *t.shape) - sums**2 / t.numel()
    return (dot / torch.sqrt(spread.clamp_min(1.0) * (t**2).sum())).float().numpy()


@dataclass(frozen=True)
class Match:
    """Best place of a pseudo-label slice: score in [-1, 1], file number, top row and left column in the 256 grid."""

    score: float
    number: int
    row: int
    column: int


def locate(template: Float, stack: Float, numbers: Sequence[int], scale: int) -> Match:
    """The best match of a template in a stack that is `scale` times smaller than the 256 grid."""
    scores = correlation(template, stack)
    index, row, column = (int(k) for k in np.unravel_index(int(scores.argmax()), scores.shape))
    return Match(float(scores[index, row, column]), numbers[index], row * scale, column * scale)


def smooth_offsets(
    case: str, indices: Sequence[int], matches: Sequence[Match], reach: int = 6, least: float = 0.75
) -> list[int]:
    """The number of every slice minus its index: the median of the good matches within `reach` neighbours.

    Slices without a good neighbour take the offset of the nearest slice that has one.

    Raises:
        FormatError: No match reaches `least`; the message names the case.
    """
    good = [(i, m.number - i) for i, m in zip(indices, matches, strict=True) if m.score >= least]
    if not good:
        got = "no pseudo-label slice that matches one of coronacases_png"
        raise FormatError(describe(case, got, f"at least one with a score of {least}"))
    offsets = []
    for index in indices:
        near = [offset for i, offset in good if abs(i - index) <= reach]
        nearest = min(good, key=lambda pair: abs(pair[0] - index))[1]
        offsets.append(round(float(np.median(near))) if near else nearest)
    return offsets
