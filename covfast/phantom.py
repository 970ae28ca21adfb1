"""A synthetic chest CT with known truth, and two scans without lungs.

Coordinates are LPS in mm around the middle of the scan: x to the patient's left, y to posterior, z to superior (0 at
the lower end of the default extent). Anatomy is drawn slice by slice from ovals whose sizes are functions of z, then
vessels, bronchi and lesions are painted in small windows, and blur and noise come last. The sizes are those of an
average adult lying on the back with the arms up; none is taken from a patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from covfast._phantom_body import paint_body
from covfast._phantom_lesions import paint_lesions, plan_lesions
from covfast._phantom_shapes import (
    LEFT,
    RIGHT,
    Canvas,
    Tube,
    lung_side,
    paint_bronchus,
    paint_vessel,
    tree,
)
from covfast.errors import ShapeError, ValueRangeError, describe
from covfast.volume import INFECTION, Geometry, Segmentation, Volume

EXTENT_MM = (320.0, 360.0, 360.0)
"""Size of the default scan along D, H, W: from the upper abdomen to above the lungs' apices, and the whole body."""

MIDDLE_Z_MM = 160.0
LUNG_NAMES = {0: "background", 1: "left lung", 2: "right lung"}
AIR_HU, WATER_HU = -1000, 0

# Trachea, carina and main bronchi: (x, y, z) in mm and lumen radius. The right main bronchus is wider and steeper.
_AIRWAYS = (
    Tube((0, 1, 330), (1, 4, 250), 8.5),
    Tube((1, 4, 250), (0, 12, 207), 8.5),
    Tube((0, 12, 207), (-22, 13, 192), 6.8),
    Tube((-22, 13, 192), (-40, 14, 181), 6.2),
    Tube((0, 12, 207), (24, 14, 195), 5.8),
    Tube((24, 14, 195), (46, 17, 184), 5.2),
)
_HILUM = {RIGHT: (-44.0, 12.0, 179.0), LEFT: (49.0, 16.0, 182.0)}


@dataclass(frozen=True, eq=False)
class Phantom:
    """A synthetic scan and what is known about it.

    Attributes:
        volume: the scan in HU.
        truth: labels 1 left lung, 2 right lung, 3 infection.
        lungs: labels 1 left lung, 2 right lung, infection included. As radiologists outline them: vessels of the lung
            included; hilar vessels, trachea, main and lobar bronchi left out.
        airways: (D, H, W) bool, lumen of the trachea, main and lobar bronchi.
    """

    volume: Volume
    truth: Segmentation
    lungs: Segmentation
    airways: npt.NDArray[np.bool_]


def chest_phantom(
    shape: Sequence[int] = (160, 320, 320),
    spacing_mm: Sequence[float] | None = None,
    seed: int = 0,
    *,
    lesions: bool = True,
    consolidation_at_pleura: bool = True,
    padding_hu: int | None = None,
) -> Phantom:
    """A chest CT in canonical orientation with its truth.

    Args:
        shape: (D, H, W) of the scan.
        spacing_mm: (3,) voxel size; by default the one that shows the whole chest, `EXTENT_MM / shape`. A smaller one
            looks at the middle of the chest, so that the scan cuts the lungs off.
        seed: of vessels, lesions and noise; the same seed gives the same voxels.
        lesions: paint ground glass, crazy paving and consolidations.
        consolidation_at_pleura: consolidations touch the chest wall, where a threshold loses them; otherwise they lie
            inside the lung.
        padding_hu: what scanners write outside the round field of view; None leaves it air.
    Raises: ShapeError, ValueRangeError: shape is not three numbers >= 1 or spacing not three numbers > 0.
    """
    canvas = _canvas(shape, spacing_mm)
    streams = [np.random.default_rng([seed, part]) for part in range(4)]
    paint_body(canvas)
    airways = np.zeros(canvas.shape, np.bool_)
    paint_trees(canvas, streams[0], airways)
    plan = plan_lesions(streams[1], consolidation_at_pleura) if lesions else []
    infection = paint_lesions(canvas, plan, streams[2])
    finish(canvas, streams[3], padding_hu)
    geometry = _geometry(canvas)
    truth = canvas.lungs.copy()
    truth[infection] = INFECTION
    return Phantom(
        Volume(canvas.hu, geometry),
        Segmentation(truth, geometry),
        Segmentation(canvas.lungs, geometry, dict(LUNG_NAMES)),
        airways,
    )


def water_phantom(
    shape: Sequence[int] = (40, 128, 128), spacing_mm: Sequence[float] | None = None, seed: int = 0
) -> Volume:
    """A cylinder of water (0 HU, 200 mm wide) in air: a scan without lungs. Arguments as in `chest_phantom`."""
    canvas = _canvas(shape, spacing_mm)
    canvas.hu[:, canvas.oval(0, 0, 104, 104) < 1] = 120  # the acrylic wall
    canvas.hu[:, canvas.oval(0, 0, 100, 100) < 1] = WATER_HU
    finish(canvas, np.random.default_rng(seed), None)
    return Volume(canvas.hu, _geometry(canvas))


def head_phantom(
    shape: Sequence[int] = (64, 160, 160), spacing_mm: Sequence[float] | None = None, seed: int = 0
) -> Volume:
    """A head: skull, brain, ventricles, and the air of sinuses, mastoids and pharynx, which is not lung.

    Arguments as in `chest_phantom`.
    """
    canvas = _canvas(shape, spacing_mm)
    for page, z in zip(canvas.hu, canvas.z.tolist(), strict=True):
        size = float(np.sqrt(max(1 - ((z - 175) / 118) ** 2, 0.0))) if z > 175 else 1 - 0.3 * min((175 - z) / 150, 1.0)
        if size < 0.05:
            continue
        for a, b, hu in ((80, 100, 60), (76, 96, -80), (73, 93, 1100), (66, 86, 35)):
            page[canvas.oval(0, 0, a * size, b * size, 2.2) < 1] = hu
        for side in (RIGHT, LEFT):
            if 165 < z < 205:
                canvas.disc(page, (side * 12, 0, 7, 26), 8)
            if 70 < z < 110:
                canvas.disc(page, (side * 24, -58 * size, 13, 14), AIR_HU)
                canvas.disc(page, (side * 52 * size, 28, 6, 8), -850)
        if z < 60:
            canvas.disc(page, (0, -10, 14, 8), AIR_HU)
    finish(canvas, np.random.default_rng(seed), None)
    return Volume(canvas.hu, _geometry(canvas))


def _canvas(shape: Sequence[int], spacing_mm: Sequence[float] | None) -> Canvas:
    sizes = tuple(int(n) for n in shape)
    if len(sizes) != 3 or min(sizes) < 1:
        raise ShapeError(describe("shape", tuple(shape), "(D, H, W), each at least 1"))
    whole_chest = tuple(extent / n for extent, n in zip(EXTENT_MM, sizes, strict=True))
    steps = whole_chest if spacing_mm is None else tuple(spacing_mm)
    if len(steps) != 3 or not all(0 < step < np.inf for step in steps):
        raise ValueRangeError(describe("spacing_mm", steps, "three finite numbers > 0"))
    return Canvas((sizes[0], sizes[1], sizes[2]), (float(steps[0]), float(steps[1]), float(steps[2])), MIDDLE_Z_MM)


def _geometry(canvas: Canvas) -> Geometry:
    origin = (float(canvas.x[0]), float(canvas.y[0]), float(canvas.z[0]))
    return Geometry.from_spacing(canvas.shape, canvas.spacing_mm, origin_mm=origin)


def paint_trees(canvas: Canvas, rng: np.random.Generator, airways: npt.NDArray[np.bool_]) -> None:
    """Arteries, veins and bronchi of both lungs; vessels first, because air must stay open."""
    bronchi = list(_AIRWAYS)
    for side in (RIGHT, LEFT):
        x, y, z = _HILUM[side]
        arteries, veins = _scatter(rng, side, 480), _scatter(rng, side, 320)
        for root, leaves in (((x + side * 4, y - 8, z + 4), arteries), ((x, y - 14, z - 16), veins)):
            for tube in tree(root, leaves, 0.62, 0.37):
                paint_vessel(canvas, tube, 40)
        # Bronchi run beside arteries: they feed some of the same places, a few mm away.
        bronchi += tree(_HILUM[side], arteries[::16] + np.array([0, 3.0, 2.0]), 0.85, 0.47)
    for tube in sorted(bronchi, key=lambda tube: -tube.radius_mm):
        paint_bronchus(canvas, tube, airways)
    canvas.lungs[airways] = 0


def _scatter(rng: np.random.Generator, side: int, count: int) -> npt.NDArray[np.float64]:
    """(count, 3) points x, y, z spread evenly over one lung, 4 mm from its surface or deeper."""
    found: list[npt.NDArray[np.float64]] = []
    while sum(map(len, found)) < count:
        points = rng.uniform((-140, -95, 20), (140, 95, 296), (4 * count, 3))
        points[:, 0] = np.abs(points[:, 0]) * side
        found.append(points[lung_side(points[:, 0], points[:, 1], points[:, 2], side, 4.0)])
    return np.concatenate(found)[:count]


def finish(canvas: Canvas, rng: np.random.Generator, padding_hu: int | None) -> None:
    """Blur over about a voxel (the scanner's resolution), correlated noise, and padding, in place.

    One slice is in work at a time; the slice before it is kept because it is overwritten.
    """
    profile = np.clip(1.15 - canvas.oval(0, 0, 190, 150), 0, 1)  # noise is strongest in the middle of the body
    outside = canvas.oval(0, 0, EXTENT_MM[2] / 2, EXTENT_MM[2] / 2) > 1
    before = canvas.hu[0].astype(np.float32)
    for d in range(canvas.shape[0]):
        here = canvas.hu[d].astype(np.float32)
        after = canvas.hu[min(d + 1, canvas.shape[0] - 1)]
        noise = rng.standard_normal(here.shape, np.float32) * (22 + 30 * profile)
        page = _smooth(0.76 * here + 0.12 * (before + after) + noise)
        if padding_hu is not None:
            page[outside] = padding_hu
        before = here
        canvas.hu[d] = np.clip(np.rint(page), -32768, 3071).astype(np.int16)


def _smooth(page: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A page smoothed by (1, 2, 1) / 4 along each axis, about a Gaussian of 0.7 voxel; the border keeps its value."""
    for axis in (0, 1):
        padded = np.concatenate([page.take([0], axis), page, page.take([-1], axis)], axis)
        low, middle, high = (padded.take(range(k, k + page.shape[axis]), axis) for k in range(3))
        page = np.asarray(0.25 * (low + high) + 0.5 * middle, np.float32)
    return page
