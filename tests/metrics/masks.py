"""Pairs of masks that find mistakes of surface metrics: every extent, degenerate shapes, exact ties; from seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Mask = npt.NDArray[np.bool_]
Spacing = tuple[float, ...]

EXTENTS = (1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129)  # around the width of words and vectors
SPACINGS: tuple[tuple[float, float, float], ...] = (
    (1, 1, 1),
    (0.7, 0.7, 0.7),
    (5, 0.7, 0.7),
    (0.7, 0.7, 5),
    (1, 0.7, 0.7),
    (3, 2, 1),
    (np.pi, np.e, np.sqrt(2)),
    (1e-3, 2e-3, 1.5e-3),
    (1e3, 700, 1250),
    (0.001, 1, 40),
    (2.5, 0.8, 0.8),
    (1 / 3, 1 / 7, 1 / 3),
)


class Pair(NamedTuple):
    """Two masks of one shape.

    Attributes:
        name: what an assertion prints.
        truth, prediction: bool, (D, H, W) or (H, W).
        spacing_mm: one number per axis.
        tolerances_mm: at which the surfaces' overlap is to be asked.
    """

    name: str
    truth: Mask
    prediction: Mask
    spacing_mm: Spacing
    tolerances_mm: tuple[float, ...]


def pair(name: str, truth: Mask, prediction: Mask, spacing_mm: Spacing, tolerances_mm: tuple[float, ...] = ()) -> Pair:
    spacing = tuple(float(step) for step in spacing_mm[: truth.ndim])
    wide = float(max(spacing))
    return Pair(name, truth, prediction, spacing, tolerances_mm or (0.0, min(spacing), wide, 2.6 * wide))


def spacing_of(index: int, rank: int) -> Spacing:
    return SPACINGS[index % len(SPACINGS)][:rank]


def blobs(shape: tuple[int, ...], rng: np.random.Generator, fill: float, smooth: float) -> Mask:
    """Smooth noise above its quantile: about a share `fill` of the voxels."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), smooth)
    return np.asarray(field > np.quantile(field, 1 - fill))


def disturbed(mask: Mask, rng: np.random.Generator) -> Mask:
    """A prediction of the mask: moved a little, its border ragged, sometimes with an island far away."""
    moved = np.roll(mask, rng.integers(-2, 3, mask.ndim), tuple(range(mask.ndim)))
    border = ndimage.binary_dilation(moved) & ~ndimage.binary_erosion(moved)
    moved ^= border & (rng.random(mask.shape) < rng.uniform(0, 0.4))
    if rng.random() < 0.3:
        moved[tuple(rng.integers(0, mask.shape))] = True
    return moved


def drawn_extents() -> Iterator[Pair]:
    """Every extent along every axis of both ranks, the other axes short."""
    for rank in (2, 3):
        for index, (axis, extent) in enumerate(product(range(rank), EXTENTS)):
            rng = np.random.default_rng([rank, axis, extent])
            shape = [int(n) for n in rng.integers(2, 12, rank)]
            shape[axis] = extent
            truth = blobs(tuple(shape), rng, rng.uniform(0.15, 0.6), rng.uniform(0.5, 2))
            name = f"extent {tuple(shape)}"
            yield pair(name, truth, disturbed(truth, rng), spacing_of(index, rank))


def drawn_shapes() -> Iterator[Pair]:
    """Any shape, filling, smoothness and spacing; predictions of the truth, or nothing to do with it."""
    for seed in range(110):
        rng = np.random.default_rng([11, seed])
        rank = 2 if seed % 4 == 0 else 3
        shape = tuple(int(n) for n in rng.choice(EXTENTS[:11] if rank == 3 else EXTENTS, rank))
        truth = blobs(shape, rng, rng.choice([0.03, 0.2, 0.5, 0.9]), rng.choice([0.3, 1, 2.5]))
        spacing = tuple(10 ** rng.uniform(-1, 1, rank)) if seed % 3 else spacing_of(seed, rank)
        other = disturbed(truth, rng) if seed % 5 else blobs(shape, rng, 0.2, 1.0)
        yield pair(f"drawn {seed} {shape}", truth, other, spacing)


def volumes() -> Iterator[Pair]:
    """Organs with holes and ragged predictions, missed and invented islands: searches near and far in every mixture."""
    shapes = [(40, 70, 130), (100, 33, 64), (64, 65, 63), (21, 150, 40), (300, 200), (65, 512)]
    for index, shape in enumerate(shapes):
        rng = np.random.default_rng([5, index])
        axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij", sparse=True)
        organ = np.asarray(sum(axis**2 for axis in axes) < 0.8)
        level = ndimage.gaussian_filter(rng.standard_normal(shape), 2.0)
        level /= level.std()
        truth = organ & (level < 1.2)
        prediction = organ & (level + 0.5 * rng.standard_normal(shape) < 1.0)
        for _ in range(12):
            low = rng.integers(0, np.array(shape) - 4)
            window = tuple(slice(a, a + b) for a, b in zip(low, rng.integers(1, 5, len(shape)), strict=True))
            (truth, prediction)[int(rng.integers(2))][window] ^= True
        yield pair(f"volume {shape}", truth, prediction, spacing_of(index + 1, len(shape)))


def boxes() -> Iterator[Pair]:
    """Full volumes, slabs at borders, thin sheets, hollow and touching boxes."""
    for rank, extent in product((2, 3), (1, 2, 9, 17)):
        shape = (extent + 2, extent, extent + 5)[:rank]
        full = np.ones(shape, bool)
        yield pair(f"full {shape}", full, full, spacing_of(extent, rank))
        for axis in range(rank):
            sheet, slab = np.zeros(shape, bool), np.zeros(shape, bool)
            np.moveaxis(sheet, axis, 0)[shape[axis] // 2] = True
            np.moveaxis(slab, axis, 0)[: shape[axis] // 2 + 1] = True
            yield pair(f"sheet and slab {shape} {axis}", sheet, slab, spacing_of(axis, rank))
            yield pair(f"full and sheet {shape} {axis}", full, sheet, spacing_of(axis + 3, rank))
    for index, spacing in enumerate(SPACINGS):
        for rank in (2, 3):
            hollow = np.zeros((12, 11, 10)[:rank], bool)
            hollow[(slice(1, 10),) * rank] = True
            hollow[(slice(3, 8),) * rank] = False
            touching = np.zeros_like(hollow)
            touching[(slice(8, None),) * rank] = True
            yield pair(f"hollow and corner {rank} {index}", hollow, touching, spacing[:rank])


def dots(shape: tuple[int, ...], *where: tuple[int, ...]) -> Mask:
    mask = np.zeros(shape, bool)
    mask[tuple(np.array(where).T)] = True
    return mask


def single_voxels() -> Iterator[Pair]:
    """Single voxels in corners, side by side, diagonal, and many words apart along every axis."""
    for index, corner in enumerate(product((0, 8), repeat=3)):
        spacing = spacing_of(index, 3)
        yield pair(f"voxel at {corner}", dots((9, 9, 9), corner), dots((9, 9, 9), (4, 4, 4)), spacing)
        yield pair(f"pixel at {corner[:2]}", dots((9, 9), corner[:2]), dots((9, 9), (1, 7)), spacing)
    for axis, distance in product(range(3), (1, 2, 63, 64, 65, 130, 300)):
        shape, far = [3, 3, 3], [1, 1, 1]
        shape[axis], far[axis] = distance + 2, distance + 1
        near = [1, 1, 1]
        near[axis] = 1
        ends = dots(tuple(shape), tuple(near)), dots(tuple(shape), tuple(far))
        yield pair(f"apart {distance} along {axis}", *ends, spacing_of(axis + distance, 3))
    wide = (40, 60, 200)
    for index, (one, other) in enumerate(
        [((0, 0, 0), (39, 59, 199)), ((39, 0, 100), (0, 59, 3)), ((20, 30, 0), (20, 31, 199))]
    ):
        yield pair(f"far {index}", dots(wide, one, (20, 30, 100)), dots(wide, other), spacing_of(index, 3))
        flat = dots(wide[1:], one[1:]), dots(wide[1:], other[1:])
        yield pair(f"far {index} in 2-D", *flat, spacing_of(index + 4, 2))


def patterns() -> Iterator[Pair]:
    """Checkerboards, random dust and stripes: every code of neighbours, and no smooth surface."""
    for rank, extent in product((2, 3), (3, 8, 13)):
        shape = (extent, extent + 1, extent + 4)[:rank]
        places = np.indices(shape).sum(axis=0)
        rng = np.random.default_rng([3, rank, extent])
        yield pair(f"checkerboards {shape}", places % 2 == 0, places % 2 == 1, spacing_of(extent, rank))
        yield pair(f"stripes {shape}", places % 3 == 0, places % 4 == 0, spacing_of(extent + 1, rank))
        for share in (0.02, 0.5, 0.98):
            dust = rng.random(shape) < share
            dust[(0,) * rank] = True
            other = rng.random(shape) < 0.5
            yield pair(f"dust {share} {shape}", dust, other, spacing_of(extent + 2, rank))


def empties() -> Iterator[Pair]:
    for index, shape in enumerate([(1, 1), (9, 20), (1, 1, 1), (5, 6, 70), (64, 1, 1)]):
        some, none = np.zeros(shape, bool), np.zeros(shape, bool)
        some[tuple(n // 2 for n in shape)] = True
        spacing = spacing_of(index, len(shape))
        yield pair(f"no prediction {shape}", some, none, spacing)
        yield pair(f"no truth {shape}", none, some, spacing)
        yield pair(f"neither {shape}", none, none, spacing)
        yield pair(f"full truth alone {shape}", ~none, none, spacing)


def tolerance_ties() -> Iterator[Pair]:
    """Surfaces a whole number of steps apart, asked at exactly that distance and one bit on either side."""
    for axis, steps, (index, spacing) in product(range(3), (1, 2, 3, 7), enumerate(SPACINGS[:8])):
        if (axis + steps + index) % 4:
            continue
        size = [6, 6, 6]
        size[axis] = 16
        truth, prediction = np.zeros(size, bool), np.zeros(size, bool)
        np.moveaxis(truth, axis, 0)[2:5] = True
        np.moveaxis(prediction, axis, 0)[2 : 5 + steps] = True
        exact = steps * float(spacing[axis])
        around = (exact, float(np.nextafter(exact, 0)), float(np.nextafter(exact, 1e9)), exact / 2)
        yield pair(f"tie {steps} along {axis}, spacing {index}", truth, prediction, spacing, around)


def percentile_ties() -> Iterator[Pair]:
    """Isolated equal voxels, of which an exact share is displaced: percentiles fall on the edge of their sum."""
    for seed, (count, moved) in enumerate([(20, 1), (20, 2), (40, 2), (20, 10), (10, 1), (8, 2), (4, 1), (100, 5)] * 4):
        rng = np.random.default_rng([7, seed])
        rank = 2 + seed // 8 % 2
        spacing = spacing_of(seed, rank) if seed < 16 else tuple(rng.uniform(0.3, 5, rank))
        shape = (10, 4 * count) if rank == 2 else (6, 10, 4 * count)
        truth, prediction = np.zeros(shape, bool), np.zeros(shape, bool)
        for i in range(count):
            place = (2,) * (rank - 1) + (4 * i + 1,)
            truth[place] = True
            shift = 1 + i % 4 if i < moved else 0
            prediction[(*place[:-2], place[-2] + shift, place[-1])] = True
        yield pair(f"{moved} of {count} moved, {rank}-D, {seed}", truth, prediction, spacing)


# Voxels of small objects, and seeds of spacings for which the last bits of the objects' areas, not the areas, decide a
# percentile: whether norms are summed in another order, or rounded as another BLAS does, is seen here alone.
OBJECTS = {
    "voxel": ((0, 0, 0),),
    "bend": ((0, 0, 0), (0, 0, 1), (0, 1, 0)),
    "corner": ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)),
    "screw": ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 1)),
}
LAST_BITS = {
    ("voxel", 20, 1): (1378, 1457),
    ("voxel", 10, 1): (66, 136, 674, 682, 868, 1242),
    ("voxel", 8, 2): (373, 734, 783, 922, 942, 1008),
    ("bend", 20, 1): (834, 848, 122, 798, 1061),
    ("bend", 20, 2): (26, 294, 543, 269, 271, 545),
    ("corner", 20, 1): (95, 215, 373, 277, 342, 833),
    ("corner", 20, 10): (80, 224, 294, 13, 478, 861),
    ("screw", 20, 1): (105, 161, 465, 122, 312, 624),
    ("screw", 10, 1): (20, 93, 248, 262, 294, 563),
}


def last_bits() -> Iterator[Pair]:
    """Equal objects, of which an exact share is displaced, with the spacings of LAST_BITS."""
    for (name, count, moved), seeds in LAST_BITS.items():
        truth, prediction = np.zeros((2, 4, 10, 5 * count), bool)
        for i in range(count):
            for a, b, c in OBJECTS[name]:
                truth[a + 1, b + 1, c + 5 * i + 1] = True
                prediction[a + 1, b + 1 + (5 if i < moved else 0), c + 5 * i + 1] = True
        for seed in seeds:
            spacing = tuple(np.random.default_rng(seed).uniform(0.3, 5, 3))
            yield pair(f"last bits, {moved} of {count}, {name}, {seed}", truth, prediction, spacing)


FAMILIES: dict[str, Callable[[], Iterator[Pair]]] = {
    "extents": drawn_extents,
    "shapes": drawn_shapes,
    "volumes": volumes,
    "boxes": boxes,
    "single voxels": single_voxels,
    "patterns": patterns,
    "empties": empties,
    "tolerance ties": tolerance_ties,
    "percentile ties": percentile_ties,
    "last bits": last_bits,
}


@cache
def pairs(family: str) -> tuple[Pair, ...]:
    """The pairs of a family, drawn once; not to be written to."""
    found = tuple(FAMILIES[family]())
    for one in found:
        one.truth.flags.writeable = one.prediction.flags.writeable = False
    return found
