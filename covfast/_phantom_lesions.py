"""Lesions of the synthetic chest: ground glass, crazy paving and consolidation, as in COVID-19 pneumonia.

They favour the periphery, the back and the lower zones (Bernheim et al. 2020, Radiology 295, 200463).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from covfast._phantom_shapes import LEFT, RIGHT, Canvas, Float, Window, lung_shape, lung_side

CONSOLIDATION_HU = 15.0
"""Airless lung is about as dense as muscle; the texture and the noise spread it over -50..50 HU."""


@dataclass(frozen=True)
class Lesion:
    """One lesion.

    Attributes:
        kind: "ground glass", "crazy paving" or "consolidation".
        centre: (x, y, z) in mm.
        radii_mm: half-axes along x, y, z before its border is made irregular.
        hu: what its lung reaches in the middle.
    """

    kind: str
    centre: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    hu: float


def plan_lesions(rng: np.random.Generator, at_pleura: bool) -> list[Lesion]:
    """Where the lesions lie: six of ground glass, one of crazy paving, three consolidations, over both lungs."""
    kinds = ["ground glass"] * 6 + ["crazy paving"] + ["consolidation"] * 3
    plan = []
    for number, kind in enumerate(kinds):
        size = {"ground glass": 19.0, "crazy paving": 27.0, "consolidation": 17.0}[kind] * rng.uniform(0.75, 1.25)
        radii = tuple(float(size * factor) for factor in rng.uniform(0.8, 1.25, 3))
        depth = 0.35 * size if at_pleura or kind != "consolidation" else 1.6 * max(radii) + 8
        centre = _place(rng, RIGHT if number % 2 else LEFT, depth)
        hu = {"consolidation": CONSOLIDATION_HU, "crazy paving": -640.0}.get(kind, float(rng.uniform(-640, -460)))
        plan.append(Lesion(kind, centre, (radii[0], radii[1], radii[2]), hu))
    return plan


def _place(rng: np.random.Generator, side: int, depth_mm: float) -> tuple[float, float, float]:
    """A point in one lung `depth_mm` from its outer wall, more often low and towards the back."""
    for _ in range(1000):
        z = float(95 + 140 * rng.beta(1.2, 1.9))
        angle = float(rng.uniform(-0.25, 1.15))  # 0 is lateral, pi/2 posterior
        cx, cy, a, b = (float(v) for v in lung_shape(z, side))
        x = cx + side * (a - depth_mm) * np.cos(angle)
        y = cy + (b - depth_mm) * np.sin(angle)
        if bool(lung_side(x, y, z, side, min(depth_mm, 12.0) - 2)):
            return float(x), float(y), z
    return side * 80.0, 20.0, 150.0


def paint_lesions(canvas: Canvas, plan: list[Lesion], rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Paint lesions into the lungs of a canvas.

    Returns: (D, H, W) bool, True where a lung voxel is more than half lesion: the exact truth.
    """
    truth = np.zeros(canvas.shape, np.bool_)
    for lesion in plan:
        reach = 1.4 * np.asarray(lesion.radii_mm)
        window = canvas.window(np.subtract(lesion.centre, reach), np.add(lesion.centre, reach))
        if not canvas.hu[window].size:
            continue
        weight = _weight(canvas, lesion, window, rng)
        inside = canvas.lungs[window] > 0
        weight *= inside
        _blend(canvas, lesion, window, weight, rng)
        truth[window] |= weight > 0.5
    return truth


def _waves(canvas: Canvas, window: Window, rng: np.random.Generator, length_mm: float, count: int = 5) -> Float:
    """(d, h, w) float32 smooth random texture of about unit size: a sum of plane waves of about one length."""
    x, y, z = canvas.mesh(window)
    total = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape), np.float32)
    for _ in range(count):
        direction = rng.normal(size=3)
        kx, ky, kz = (2 * np.pi / length_mm * rng.uniform(0.6, 1.4) * direction / np.linalg.norm(direction)).tolist()
        turn = np.float32(rng.uniform(0, 2 * np.pi))
        total += np.sin(np.float32(kx) * x + np.float32(ky) * y + (np.float32(kz) * z + turn))
    return total / np.float32(np.sqrt(count / 2))


def _weight(canvas: Canvas, lesion: Lesion, window: Window, rng: np.random.Generator) -> Float:
    """(d, h, w) float32 in [0, 1], the lesion's share of each voxel: an ellipsoid with an irregular, soft border."""
    x, y, z = canvas.mesh(window)
    (cx, cy, cz), (a, b, c) = lesion.centre, lesion.radii_mm
    rho = np.sqrt(((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 + ((z - cz) / c) ** 2)
    rho += np.float32(0.13) * _waves(canvas, window, rng, 26.0) + np.float32(0.06) * _waves(canvas, window, rng, 9.0)
    softness = 0.1 if lesion.kind == "consolidation" else 0.4
    return np.asarray(np.clip((1 - rho) / softness + 0.5, 0, 1), np.float32)


def _blend(canvas: Canvas, lesion: Lesion, window: Window, weight: Float, rng: np.random.Generator) -> None:
    """Put a lesion's density into the lung; vessels show in ground glass, bronchi stay open in consolidation."""
    part = canvas.hu[window]
    texture = _waves(canvas, window, rng, 11.0)
    if lesion.kind == "consolidation":
        target = lesion.hu + 10 * texture
        bronchus = np.clip((-930 - part) / np.float32(40), 0, 1)
        new = part + weight * (1 - bronchus) * (np.maximum(target, part) - part)
    else:
        target = lesion.hu + 35 * texture
        if lesion.kind == "crazy paving":
            target = target + 330 * _septa(canvas, window, rng)
        new = np.maximum(part, np.minimum(part + weight * (target + 830), np.maximum(part, 50)))
    part[...] = new.astype(np.int16)


def _septa(canvas: Canvas, window: Window, rng: np.random.Generator) -> Float:
    """(d, h, w) float32 in [0, 1]: thickened septa, the thin walls of a mesh of polygons about 9 mm wide.

    The polygons are the cells of scattered seeds: a wall is where the two nearest seeds are equally far.
    """
    x, y, z = canvas.mesh(window)
    low = np.array([x.min(), y.min(), z.min()])
    size = np.array([x.max(), y.max(), z.max()]) - low
    count = int(max(2, np.prod(size / 10.5)))
    nearest = np.full(canvas.hu[window].shape, np.inf, np.float32)
    second = nearest.copy()
    for sx, sy, sz in (low + size * rng.uniform(size=(count, 3))).astype(np.float32):
        far = (x - sx) ** 2 + (y - sy) ** 2 + (z - sz) ** 2
        np.minimum(second, np.maximum(far, nearest), out=second)
        np.minimum(nearest, far, out=nearest)
    gap = np.sqrt(second) - np.sqrt(nearest)
    return np.asarray(np.clip(1.25 - gap / np.float32(1.6), 0, 1), np.float32)
