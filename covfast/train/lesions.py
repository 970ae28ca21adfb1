"""Synthetic 3-D training cases: the chest phantom with lesions of one kind, and their mask.

Three kinds stand for the non-COVID sources of a transfer (nodule, effusion, mass), ground glass for its target. Each
has its own site, shape and density, so that what a network learns on one is not all it needs for another. The sizes
and densities are those of textbook examples (Hansell et al. 2008, Fleischner glossary, Radiology 246, 697-722); no
patient's anatomy is in them. Not a substitute for scans: figures measured here compare strategies, nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from covfast._phantom_body import paint_body
from covfast._phantom_lesions import Lesion, paint_lesions
from covfast._phantom_shapes import LEFT, RIGHT, Canvas, Tube, around, coverage, lung_shape, lung_side, ramp
from covfast.errors import ShapeError, ValueRangeError, describe
from covfast.phantom import EXTENT_MM, MIDDLE_Z_MM, finish, paint_trees

KINDS = ("nodule", "effusion", "mass", "ground glass")

FLUID_HU = 8.0
"""Simple effusions measure 0 to 20 HU."""

Point = tuple[float, float, float]


class LesionCase(NamedTuple):
    """A synthetic scan with one kind of lesion.

    Attributes:
        hu: (D, H, W) int16 HU, in canonical orientation.
        mask: (D, H, W) uint8, 1 = lesion.
        spacing_mm: along D, H, W.
    """

    hu: npt.NDArray[np.int16]
    mask: npt.NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]


def lesion_case(kind: str, seed: int, shape: Sequence[int] = (48, 96, 96)) -> LesionCase:
    """A chest with lesions of one kind; the same arguments give the same voxels.

    The whole chest is shown, up to 8 % larger or smaller along each axis and up to 8 mm off the middle, so that no
    voxel has the same anatomy in every case. Vessels, lesions and noise differ as well.

    Args:
        kind: one of `KINDS`.
        seed: >= 0.
        shape: (D, H, W). Nodules are seen down to voxels of about 6 mm.
    Raises: ValueRangeError: kind or seed; ShapeError: shape is not three numbers >= 1.
    """
    if kind not in KINDS:
        raise ValueRangeError(describe("kind", repr(kind), f"one of {', '.join(KINDS)}"))
    if seed < 0:
        raise ValueRangeError(describe("seed", seed, "a whole number >= 0"))
    streams = [np.random.default_rng([seed, KINDS.index(kind), part]) for part in range(5)]
    canvas = _chest(shape, streams[0])
    paint_trees(canvas, streams[1], np.zeros(canvas.shape, np.bool_))
    if kind == "effusion":
        mask = _paint_effusions(canvas, streams[2])
    elif kind == "nodule":
        mask = _paint_nodules(canvas, streams[2])
    else:
        mask = paint_lesions(canvas, {"mass": _mass, "ground glass": _ground_glass}[kind](streams[2]), streams[3])
    finish(canvas, streams[4], None)
    return LesionCase(canvas.hu, mask.astype(np.uint8), canvas.spacing_mm)


def _chest(shape: Sequence[int], rng: np.random.Generator) -> Canvas:
    """The body of the phantom on a grid whose voxel size and middle are drawn."""
    sizes = tuple(int(n) for n in shape)
    if len(sizes) != 3 or min(sizes) < 1:
        raise ShapeError(describe("shape", tuple(shape), "(D, H, W), each at least 1"))
    depth, height, width = (
        extent / n * scale for extent, n, scale in zip(EXTENT_MM, sizes, rng.uniform(0.92, 1.08, 3), strict=True)
    )
    dx, dy, dz = rng.uniform(-8, 8, 3).tolist()
    canvas = Canvas((sizes[0], sizes[1], sizes[2]), (float(depth), float(height), float(width)), MIDDLE_Z_MM + dz)
    canvas.x, canvas.y = canvas.x + np.float32(dx), canvas.y + np.float32(dy)
    paint_body(canvas)
    return canvas


def _inside(rng: np.random.Generator, side: int, inset_mm: float) -> Point:
    """A point of one lung at least `inset_mm` from its surface."""
    for _ in range(2000):
        x, y, z = rng.uniform((15, -90, 40), (135, 90, 280)).tolist()
        if bool(lung_side(side * x, y, z, side, inset_mm)):
            return side * x, y, z
    return side * 75.0, 20.0, 190.0


def _at_wall(rng: np.random.Generator, side: int, depth_mm: float, zone: tuple[float, float, float, float]) -> Point:
    """A point `depth_mm` from one lung's outer wall. zone: lowest and highest z, smallest and largest angle, where 0
    is lateral and pi / 2 posterior."""
    for _ in range(2000):
        z, angle = float(rng.uniform(zone[0], zone[1])), float(rng.uniform(zone[2], zone[3]))
        cx, cy, a, b = (float(v) for v in lung_shape(z, side))
        x, y = cx + side * (a - depth_mm) * np.cos(angle), cy + (b - depth_mm) * np.sin(angle)
        if bool(lung_side(x, y, z, side, min(depth_mm, 12.0) - 2)):
            return float(x), float(y), z
    return side * 95.0, 30.0, 170.0


def _paint_nodules(canvas: Canvas, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Two to five solid spheres of 12 to 28 mm anywhere inside the lungs."""
    mask = np.zeros(canvas.shape, np.bool_)
    for _ in range(int(rng.integers(2, 6))):
        radius, hu = float(rng.uniform(6, 14)), float(rng.uniform(10, 60))
        centre = _inside(rng, int(rng.choice((RIGHT, LEFT))), radius + 4)
        ball = Tube(centre, centre, radius)
        window = around(canvas, ball, radius)
        cover = coverage(canvas, ball, radius, window) * (canvas.lungs[window] > 0)
        part = canvas.hu[window]
        np.maximum(part, (part + cover * (hu - part)).astype(np.int16), out=part)
        mask[window] |= cover >= 0.5
    return mask


def _mass(rng: np.random.Generator) -> list[Lesion]:
    """One lobulated mass of about 45 to 90 mm at the pleura or the hilum: overlapping ellipsoids around one middle."""
    side, size = int(rng.choice((RIGHT, LEFT))), float(rng.uniform(22, 38))
    if rng.random() < 0.6:
        middle = _at_wall(rng, side, 0.55 * size, (90, 250, -0.9, 1.2))
    else:
        middle = (side * float(rng.uniform(58, 74)), float(rng.uniform(0, 30)), float(rng.uniform(165, 205)))
    hu = float(rng.uniform(25, 55))
    plan = []
    for lobe in range(int(rng.integers(4, 7))):
        away = 0.0 if lobe == 0 else 0.7 * size
        x, y, z = (np.asarray(middle) + away * rng.uniform(-1, 1, 3)).tolist()
        a, b, c = (size * rng.uniform(0.5, 0.85, 3)).tolist()
        plan.append(Lesion("consolidation", (x, y, z), (a, b, c), hu))
    return plan


def _ground_glass(rng: np.random.Generator) -> list[Lesion]:
    """Three to seven hazy patches of 30 to 60 mm below the pleura, low and at the back by preference."""
    plan = []
    for number in range(int(rng.integers(3, 8))):
        size = float(rng.uniform(15, 30))
        low = bool(rng.random() < 0.7)
        zone = (75, 180, -0.2, 1.2) if low else (150, 255, -0.9, 1.1)
        centre = _at_wall(rng, RIGHT if number % 2 else LEFT, 0.35 * size, zone)
        a, b, c = (size * rng.uniform(0.75, 1.3, 3)).tolist()
        plan.append(Lesion("ground glass", centre, (a, b, c), float(rng.uniform(-680, -520))))
    return plan


def _paint_effusions(canvas: Canvas, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Fluid behind one lung or both: patients lie on their back, so it forms a crescent along the posterior pleura.

    The crescent lies between the lung's outer oval and the same oval moved forward by its depth, which falls from the
    base to the fluid's upper end.
    """
    fluid = np.zeros(canvas.shape, np.bool_)
    sides = ((RIGHT,), (LEFT,), (RIGHT, LEFT))[int(rng.choice(3, p=(0.35, 0.3, 0.35)))]
    x, y = canvas.x[None, :], canvas.y[:, None]
    for side in sides:
        depth, top = float(rng.uniform(18, 48)), float(rng.uniform(170, 275))
        label = 2 if side == RIGHT else 1
        for page, lungs, wet, z in zip(canvas.hu, canvas.lungs, fluid, canvas.z.tolist(), strict=True):
            forward = depth * float(ramp(-z, -top, -90))
            cx, cy, a, b = (float(v) for v in lung_shape(z, side))
            if forward < 2 or min(a, b) < 10:
                continue
            air = canvas.oval(cx, cy - forward, a, b, 2.3) < 1
            here = (lungs == label) & ~air & (y > cy) & (x * side > 0)
            page[here] = FLUID_HU
            wet |= here
    return fluid
