"""The cases of the surface benchmark, drawn from a seed: two lungs, ragged infection, and a perturbed prediction.

`big` has about as many surface elements as a chest CT at full resolution with a severe infection; `big_floaters` adds
what a raw network leaves all over the volume; `thick` and `small` are coarser. The maps are in (x, y, z) order, as
nibabel reads them: 0 background, 1 left lung, 2 right lung, 3 infection (no lung voxel there).

    python bench/metrics/cases.py --save DIR      # DIR/truth_big.npy, DIR/pred_big.npy, ...
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Labels = npt.NDArray[np.uint8]
Field = npt.NDArray[np.float32]
Figures = dict[str, dict[str, float]]  # what a competitor answers: label -> dice, nsd, assd (mm), hd95 (mm)
LABELS = {"left lung": 1, "right lung": 2, "infection": 3}
TOLERANCE_MM = {"left lung": 1.0, "right lung": 1.0, "infection": 3.0}

BLOBS, MISSED, INVENTED = 60, 5, 5
LUNG_RADII = (0.163, 0.265, 0.474)  # of the extent along each axis
LUNG_CENTRES = {1: (0.71, 0.5, 0.495), 2: (0.29, 0.5, 0.495)}
RAGGED_MM, RAGGED_AMPLITUDE_MM = 1.4, 3.0  # correlation length and height of the blobs' own surface
SHIFT_MM, SHIFT_AMPLITUDE_MM = 9.0, 2.5  # of the error that moves whole stretches of a contour
LUNG_SHARE = 0.55  # of that error and of the raggedness at the outer surface of a lung, which is easier to find
KEPT = 0.76  # of the raggedness that the prediction shares with the truth


class Case(NamedTuple):
    truth: Labels
    prediction: Labels
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Grid:
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    seed: int = 0
    islands: int = 0


GRIDS = {
    "big": Grid((512, 512, 300), (0.7, 0.7, 1.0)),
    "thick": Grid((512, 512, 40), (0.7, 0.7, 5.0)),
    "small": Grid((128, 128, 64), (1.4, 1.4, 2.5)),
    "big_floaters": Grid((512, 512, 300), (0.7, 0.7, 1.0), islands=500),
}


def threads() -> int:
    """How many threads a competitor may use; the runner says."""
    return int(os.environ.get("OMP_NUM_THREADS", "0")) or os.cpu_count() or 1


def noise(grid: Grid, length_mm: float, rng: np.random.Generator) -> Field:
    """Smooth noise of zero mean and unit deviation with the correlation length `length_mm`."""
    field = rng.standard_normal(grid.shape, dtype=np.float32)
    ndimage.gaussian_filter(field, [length_mm / step for step in grid.spacing_mm], output=field, mode="wrap")
    field /= field.std()
    return field


def ball(field: Field, grid: Grid, centre: npt.NDArray[np.float64], radius_mm: float) -> None:
    """Raises `field` to `radius_mm` minus the distance from `centre` (index coordinates), near it."""
    steps = np.array(grid.spacing_mm)
    low = np.maximum(np.floor(centre - (radius_mm + 9) / steps), 0).astype(int)
    high = np.minimum(np.ceil(centre + (radius_mm + 9) / steps) + 1, grid.shape).astype(int)
    window = tuple(map(slice, low, high))
    squares = [((np.arange(a, b) - c) * s) ** 2 for a, b, c, s in zip(low, high, centre, steps, strict=True)]
    distance = np.sqrt(squares[0][:, None, None] + squares[1][:, None] + squares[2]).astype(np.float32)
    np.maximum(field[window], radius_mm - distance, out=field[window])


def lung(grid: Grid, side: int) -> Field:
    """About the distance in mm to the ellipsoid of a lung, positive inside."""
    extent = np.multiply(grid.shape, grid.spacing_mm)
    radii = extent * LUNG_RADII
    axes = [
        (((np.arange(n) + 0.5) * step - centre * size) / radius).astype(np.float32) ** 2
        for n, step, centre, size, radius in zip(
            grid.shape, grid.spacing_mm, LUNG_CENTRES[side], extent, radii, strict=True
        )
    ]
    return (1 - np.sqrt(axes[0][:, None, None] + axes[1][:, None] + axes[2])) * np.float32(radii.min())


def blobs(grid: Grid, rng: np.random.Generator) -> tuple[Field, Field]:
    """Infection of the truth and of the prediction: radius minus distance in mm, before the surfaces are ragged."""
    levels = (np.full(grid.shape, -99, np.float32), np.full(grid.shape, -99, np.float32))
    scale = float(np.multiply(grid.shape, grid.spacing_mm).min()) / 300
    for i in range(BLOBS + INVENTED):
        side = 1 + i % 2
        where = rng.normal(size=3)
        where *= 0.82 * rng.uniform() ** (1 / 3) / np.linalg.norm(where)
        centre = (np.array(LUNG_CENTRES[side]) + where * LUNG_RADII * np.array([1, 0.92, 0.85])) * grid.shape
        radius = scale * (rng.uniform(8, 28) if MISSED <= i < BLOBS else rng.uniform(5, 9))
        if i < BLOBS:
            ball(levels[0], grid, centre, radius)
        if i >= MISSED:
            ball(levels[1], grid, centre, radius)
    return levels


def painted(grid: Grid, infection: Field, shift: Field) -> Labels:
    labels = np.zeros(grid.shape, np.uint8)
    for side in LUNG_CENTRES:
        labels[lung(grid, side) + shift > 0] = side
    labels[(labels > 0) & (infection > 0)] = LABELS["infection"]
    return labels


def add_islands(labels: Labels, grid: Grid, rng: np.random.Generator) -> None:
    """Small balls of any label, anywhere in the volume."""
    for _ in range(grid.islands):
        radius_mm, label = rng.uniform(0.8, 4.0), rng.integers(1, 4)
        reach = [int(radius_mm / step) for step in grid.spacing_mm]
        low = [int(rng.integers(0, n - 2 * r)) for n, r in zip(grid.shape, reach, strict=True)]
        axes = [(np.arange(-r, r + 1) * step) ** 2 for r, step in zip(reach, grid.spacing_mm, strict=True)]
        inside = axes[0][:, None, None] + axes[1][:, None] + axes[2] <= radius_mm**2
        window = tuple(slice(start, start + 2 * r + 1) for start, r in zip(low, reach, strict=True))
        labels[window][inside] = label


def make(name: str) -> Case:
    """Case `name` of GRIDS; the same bits on every call with the same NumPy and SciPy."""
    grid = GRIDS[name]
    rng = np.random.default_rng(grid.seed)
    truth_level, prediction_level = blobs(grid, rng)
    ragged = noise(grid, RAGGED_MM, rng)
    truth_level += RAGGED_AMPLITUDE_MM * ragged
    truth = painted(grid, truth_level, LUNG_SHARE / 3 * RAGGED_AMPLITUDE_MM * ragged)
    del truth_level
    ragged *= KEPT
    ragged += np.float32(np.sqrt(1 - KEPT**2)) * noise(grid, RAGGED_MM, rng)
    shift = SHIFT_AMPLITUDE_MM * noise(grid, SHIFT_MM, rng)
    prediction_level += RAGGED_AMPLITUDE_MM * ragged + shift
    shift += RAGGED_AMPLITUDE_MM / 3 * ragged
    prediction = painted(grid, prediction_level, LUNG_SHARE * shift)
    add_islands(prediction, grid, rng)
    return Case(truth, prediction, grid.spacing_mm)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--save", type=Path, required=True, help="folder for truth_NAME.npy and pred_NAME.npy")
    parser.add_argument("names", nargs="*", default=list(GRIDS))
    options = parser.parse_args()
    options.save.mkdir(parents=True, exist_ok=True)
    for name in options.names:
        case = make(name)
        np.save(options.save / f"truth_{name}.npy", case.truth)
        np.save(options.save / f"pred_{name}.npy", case.prediction)
        print(os.fspath(options.save / f"truth_{name}.npy"), case.truth.shape, case.spacing_mm)


if __name__ == "__main__":
    main()
