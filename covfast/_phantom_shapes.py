"""Shapes of the synthetic chest: the grid in mm, the lungs' outline, tubes and branching trees.

Everything here is a function of mm, not of voxels, so the anatomy is the same whatever the grid.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
Window = tuple[slice, slice, slice]

RIGHT, LEFT = -1, 1
"""Sign of x on the patient's right and left."""

HILAR_RADIUS_MM = 3.6
"""Vessels this wide count as hilum, not lung: radiologists' lung outlines leave them out."""

LARGE_BRONCHUS_MM = 2.5
"""Bronchi with this lumen radius count as airways: the trachea, main and lobar bronchi."""


@dataclass(frozen=True)
class Tube:
    """A straight piece of vessel or bronchus: two ends (x, y, z) and a radius, in mm."""

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    radius_mm: float


class Canvas:
    """Voxel positions in mm along each axis of a canonical (D, H, W) grid, and the HU painted on it."""

    def __init__(self, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], middle_z_mm: float) -> None:
        self.shape, self.spacing_mm = shape, spacing_mm
        middles = (middle_z_mm, 0.0, 0.0)
        self.z, self.y, self.x = (
            (middle + (np.arange(n) - (n - 1) / 2) * step).astype(np.float32)
            for n, step, middle in zip(shape, spacing_mm, middles, strict=True)
        )
        self.hu = np.full(shape, -1000, np.int16)
        self.lungs = np.zeros(shape, np.uint8)

    def oval(self, cx: float, cy: float, a: float, b: float, power: float = 2.0) -> Float:
        """(H, W) float32, below 1 inside the oval |(x-cx)/a|^p + |(y-cy)/b|^p = 1."""
        across = np.abs((self.x - np.float32(cx)) / np.float32(a)) ** np.float32(power)
        along = np.abs((self.y - np.float32(cy)) / np.float32(b)) ** np.float32(power)
        return np.asarray(along[:, None] + across[None, :], np.float32)

    def disc(self, page: npt.NDArray[np.int16], oval: tuple[float, float, float, float], hu: float) -> None:
        """Set the voxels of an axial page inside the small oval (cx, cy, a, b) to `hu`."""
        cx, cy, a, b = oval
        rows, columns = _span(self.y, cy - b, cy + b), _span(self.x, cx - a, cx + a)
        inside = ((self.y[rows] - cy) / b)[:, None] ** 2 + ((self.x[columns] - cx) / a)[None, :] ** 2 < 1
        page[rows, columns][inside] = hu

    def window(self, low: npt.ArrayLike, high: npt.ArrayLike) -> Window:
        """Slices of the box between two corners (x, y, z) in mm, clipped to the grid."""
        (x0, y0, z0), (x1, y1, z1) = np.asarray(low).tolist(), np.asarray(high).tolist()
        return _span(self.z, z0, z1), _span(self.y, y0, y1), _span(self.x, x0, x1)

    def mesh(self, window: Window) -> tuple[Float, Float, Float]:
        """x (1, 1, w), y (1, h, 1), z (d, 1, 1) of a window, in mm."""
        deep, rows, columns = window
        return self.x[None, None, columns], self.y[None, rows, None], self.z[deep, None, None]


def _span(axis: Float, low: float, high: float) -> slice:
    return slice(int(np.searchsorted(axis, low)), int(np.searchsorted(axis, high, side="right")))


def ramp(value: npt.ArrayLike, start: float, end: float) -> Float:
    """Smooth step from 0 at `start` to 1 at `end`, with zero slope at both."""
    t = np.clip((np.asarray(value, np.float32) - start) / (end - start), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def lung_shape(z: npt.ArrayLike, side: int) -> tuple[Float, Float, Float, Float]:
    """Centre x, centre y, half-axes a and b in mm of a lung's outer oval at height z; a and b end at 0 at the apex."""
    height = np.asarray(z, np.float32)
    rise = ramp(height, 165, 250)
    apex = np.sqrt(np.clip(1 - (np.maximum(height - 238, 0) / (57 if side == RIGHT else 55)) ** 2, 0, 1))
    low = 131 + 0.03 * (170 - height) + (3 if side == RIGHT else 0)
    a = (low + (61 - low) * rise) * apex
    b = (92 + (63 - 92) * rise) * apex
    return np.asarray(side * 45 * rise, np.float32), np.asarray(14 * rise - 2, np.float32), a, b


def dome_mm(x: npt.ArrayLike, y: npt.ArrayLike) -> Float:
    """Height z of the diaphragm at (x, y): two domes, the liver's (right) higher, with deep posterior recesses."""
    right, left = (_one_dome(np.asarray(x, np.float32), np.asarray(y, np.float32), side) for side in (RIGHT, LEFT))
    return np.asarray(np.maximum(right, left), np.float32)


def _one_dome(x: Float, y: Float, side: int) -> Float:
    out = (x - side * 68) * side
    back = y + (8 if side == RIGHT else 2)
    across = np.where(out > 0, out / 66, out / (125 if side == RIGHT else 75))
    along = np.where(back > 0, back / 78, back / 108)
    peak = 114 if side == RIGHT else 98
    return np.asarray(np.maximum(peak - 70 * (across**2 + along**2), 22), np.float32)


def heart(x: npt.ArrayLike, y: npt.ArrayLike, z: npt.ArrayLike, margin_mm: float = 0.0) -> Float:
    """Below 1 inside the heart, an ellipsoid whose long axis points left, anterior and inferior."""
    dx, dy, dz = np.asarray(x, np.float32) - 22, np.asarray(y, np.float32) + 34, np.asarray(z, np.float32) - 116
    along = 0.74 * dx - 0.42 * dy - 0.525 * dz
    squared = dx**2 + dy**2 + dz**2
    half_long, half_short = 66 + margin_mm, 49 + margin_mm
    return np.asarray((along / half_long) ** 2 + (squared - along**2) / half_short**2, np.float32)


def junction_mm(y: npt.ArrayLike, z: npt.ArrayLike) -> Float:
    """x of the sheet between the lungs, which leans a little so that it follows no voxel plane."""
    py, pz = np.asarray(y, np.float32), np.asarray(z, np.float32)
    return np.asarray(3 + 0.06 * (pz - 190) - 0.05 * (py + 60), np.float32)


def _mediastinum_half_mm(y: Float, z: Float) -> Float:
    """Half width of the mediastinum: none between the lungs behind the sternum (z 150-215), where they touch."""
    front = 26 * np.maximum(ramp(z, 212, 245), ramp(-z, -152, -120)) * (0.5 + 0.5 * ramp(y, -100, -40))
    middle = 30 - 7 * ramp(z, 190, 245)
    waist = 9 * ramp(y, -8, 22) * ramp(-y, -64, -34)  # the lungs reach in behind the hilum, before the spine
    back = ramp(y, -62, -8) * (1 - 0.55 * ramp(y, 55, 85))
    return np.asarray(front + np.maximum(middle - front, 0) * back - waist, np.float32)


def lung_side(
    x: npt.ArrayLike, y: npt.ArrayLike, z: npt.ArrayLike, side: int, inset_mm: float = 0.0
) -> npt.NDArray[np.bool_]:
    """Bool, True inside one lung before hilar vessels and airways are cut out; arguments broadcast, in mm.

    Args:
        x, y, z: positions in mm.
        side: RIGHT or LEFT.
        inset_mm: stay this far inside the outer wall, the diaphragm and the mediastinum.
    """
    px, py, pz = (np.asarray(v, np.float32) for v in (x, y, z))
    cx, cy, a, b = lung_shape(pz, side)
    a, b = np.maximum(a - inset_mm, 1e-3), np.maximum(b - inset_mm, 1e-3)
    power = np.float32(2.3)
    inside = np.abs((px - cx) / a) ** power + np.abs((py - cy) / b) ** power < 1
    inside = inside & ((px - junction_mm(py, pz)) * side > _mediastinum_half_mm(py, pz) + inset_mm)
    inside &= pz > dome_mm(px, py) + inset_mm
    if np.any(np.abs(pz - 116) < 70 + inset_mm):  # elsewhere the heart is out of reach
        inside &= heart(px, py, pz, 4 + inset_mm) > 1
    inside &= (px / (27 + inset_mm)) ** 2 + ((py - 66) / (40 + inset_mm)) ** 2 > 1
    # The arch and the descending aorta press into the left lung.
    aorta = ((px - 25) / (18 + inset_mm)) ** 2 + ((py - 40) / (18 + inset_mm)) ** 2
    inside &= aorta + np.maximum(pz - 214, 0) ** 2 / 300 > 1
    return np.asarray(inside, np.bool_)


def tree(
    root: tuple[float, float, float], leaves: npt.NDArray[np.float64], tip_mm: float, power: float
) -> Iterator[Tube]:
    """Tubes of a branching tree from `root` to every leaf.

    A cloud of leaves is split in two at the median along its longest axis; the branch to each half ends part of the way
    to that half's middle. A branch that feeds n leaves has radius tip * n^power, in the spirit of Murray's law (1926),
    where the power is 1/3.
    """
    pending = [(np.asarray(root, np.float64), leaves)]
    while pending:
        node, cloud = pending.pop()
        axis = int(np.argmax(cloud.max(axis=0) - cloud.min(axis=0)))
        order = np.argsort(cloud[:, axis], kind="stable")
        for half in (order[: len(order) // 2], order[len(order) // 2 :]):
            if not len(half):
                continue
            middle = cloud[half].mean(axis=0)
            end = middle if len(half) == 1 else node + 0.45 * (middle - node)
            (ax, ay, az), (bx, by, bz) = node.tolist(), end.tolist()
            yield Tube((ax, ay, az), (bx, by, bz), tip_mm * len(half) ** power)
            if len(half) > 1:
                pending.append((end, cloud[half]))


def coverage(canvas: Canvas, tube: Tube, radius_mm: float, window: Window) -> Float:
    """(d, h, w) float32 in [0, 1]: how much of each voxel of a window a tube fills, softened over one voxel."""
    x, y, z = canvas.mesh(window)
    start = np.asarray(tube.start, np.float32)
    step = np.asarray(tube.end, np.float32) - start
    rx, ry, rz = x - start[0], y - start[1], z - start[2]
    t = np.clip((rx * step[0] + ry * step[1] + rz * step[2]) / np.float32(max(float(step @ step), 1e-6)), 0, 1)
    squared = (rx - t * step[0]) ** 2 + (ry - t * step[1]) ** 2 + (rz - t * step[2]) ** 2
    soft = np.float32(np.mean(canvas.spacing_mm))
    return np.asarray(np.clip((np.float32(radius_mm) - np.sqrt(squared)) / soft + np.float32(0.5), 0, 1), np.float32)


def around(canvas: Canvas, tube: Tube, radius_mm: float) -> Window:
    """The window that holds a tube of the given radius."""
    reach = radius_mm + max(canvas.spacing_mm)
    low, high = np.minimum(tube.start, tube.end) - reach, np.maximum(tube.start, tube.end) + reach
    return canvas.window(low, high)


def paint_vessel(canvas: Canvas, tube: Tube, hu: float) -> None:
    """Raise the voxels of a tube towards `hu`; what is denser stays. A wide one (hilar) leaves the lung."""
    window = around(canvas, tube, tube.radius_mm)
    part = canvas.hu[window]
    if not part.size:
        return
    cover = coverage(canvas, tube, tube.radius_mm, window)
    np.maximum(part, (part + cover * (hu - part)).astype(np.int16), out=part)
    if tube.radius_mm >= HILAR_RADIUS_MM:
        canvas.lungs[window][cover > 0.5] = 0


def paint_bronchus(canvas: Canvas, tube: Tube, airways: npt.NDArray[np.bool_]) -> None:
    """Draw a bronchus: wall, then lumen. The wall's thickness is 0.6 mm + a fifth of the radius.

    Large ones (lumen radius from 2.5 mm) leave the lung, wall included, and enter `airways`.
    """
    outer = 1.2 * tube.radius_mm + 0.6
    window = around(canvas, tube, outer)
    part = canvas.hu[window]
    if not part.size:
        return
    cover, lumen = coverage(canvas, tube, outer, window), coverage(canvas, tube, tube.radius_mm, window)
    walled = np.maximum(part, part + cover * (20 - part))
    # A branch's wall must not close the lumen that it leaves: what is air already stays air.
    part[...] = np.where(part < -960, part, walled + lumen * (-995 - walled))
    if tube.radius_mm >= LARGE_BRONCHUS_MM:
        canvas.lungs[window][cover > 0.5] = 0
        airways[window] |= lumen > 0.5
