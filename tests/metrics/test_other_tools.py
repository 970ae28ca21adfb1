"""The table of docs/metrics.md: which setting reproduces which tool. Tools that are not installed skip; SimpleITK is.

google-deepmind/surface-distance has a file of its own: test_conformance.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK

from covfast.metrics import SurfaceDistances, dice, iou, surface_distances

Mask = npt.NDArray[np.bool_]
NAN = math.nan
TOLERANCES_MM = (0.0, 0.75, 1.1, 2.3)

pytestmark = pytest.mark.filterwarnings("ignore")  # what other packages warn of when they are imported


def cases(rank: int | None = None, count: int = 12) -> Iterator[tuple[Mask, Mask, tuple[float, ...]]]:
    """Pairs of ragged masks, images and volumes, none empty, with spacings of all kinds."""
    rng = np.random.default_rng(0)
    for index in range(count):
        shape = tuple(int(n) for n in rng.integers(3, 24, rank or 2 + index % 2))
        spacing = tuple(float(mm) for mm in rng.choice([0.5, 0.7, 1.0, 2.5, 3.0], len(shape)))
        truth, pred = (rng.random(shape) < fill for fill in rng.uniform(0.05, 0.7, 2))
        truth[(0,) * len(shape)] = pred[(-1,) * len(shape)] = True
        yield truth, pred, spacing


def surfels(truth: Mask, pred: Mask, spacing: tuple[float, ...]) -> SurfaceDistances:
    return surface_distances(truth, pred, spacing)


def voxels(truth: Mask, pred: Mask, spacing: tuple[float, ...]) -> SurfaceDistances:
    return surface_distances(truth, pred, spacing, surface="voxels")


def empties() -> list[tuple[str, Mask, Mask]]:
    some, nothing = np.zeros((6, 7, 8), np.bool_), np.zeros((6, 7, 8), np.bool_)
    some[2:4, 2:5, 3:6] = True
    return [("pred empty", some, nothing), ("truth empty", nothing, some), ("both empty", nothing, nothing)]


@pytest.mark.parametrize("surface", ["surfels", "voxels"])
def test_exacta(surface: Any) -> None:
    tool: Any = pytest.importorskip("exacta.functional", reason="exacta is not installed")

    def agrees(truth: Mask, pred: Mask, spacing: tuple[float, ...]) -> None:
        d = surface_distances(truth, pred, spacing, surface=surface)
        maps = pred[None].astype(np.uint8), truth[None].astype(np.uint8)
        options = {"spacing": spacing, "num_classes": 2, "include_background": False, "surface": surface}
        for combine in ("max", "pooled", "mean"):
            for percent in (50, 95, 100):
                theirs = tool.hausdorff_distance(*maps, percentile=percent, combine=combine, **options)
                mine = d.hausdorff(percent, combine, both_empty=NAN)  # type: ignore[arg-type]
                np.testing.assert_allclose(mine, theirs[0, 0], rtol=1e-12)
            theirs = tool.assd(*maps, combine=combine, **options)
            np.testing.assert_allclose(d.assd(combine), theirs[0, 0], rtol=1e-12)  # type: ignore[arg-type]
        for tolerance in TOLERANCES_MM:
            np.testing.assert_allclose(
                d.nsd(tolerance), tool.nsd(*maps, tolerance=tolerance, **options)[0, 0], rtol=1e-12
            )

    for case in cases():
        agrees(*case)
    for _, truth, pred in empties():
        agrees(truth, pred, (1.0, 1.0, 1.0))


def monai(name: str) -> Any:
    return getattr(pytest.importorskip("monai.metrics", reason="MONAI is not installed"), f"compute_{name}")


def batch(mask: Mask) -> Any:
    return pytest.importorskip("torch", reason="torch is not installed").from_numpy(mask[None, None].copy()).float()


def test_monai() -> None:
    for truth, pred, spacing in cases():
        v, maps = voxels(truth, pred, spacing), (batch(pred), batch(truth))
        where: dict[str, Any] = {"include_background": True, "spacing": spacing}
        for percent in (50, 95, 100):
            theirs = monai("hausdorff_distance")(*maps, percentile=percent, **where).item()
            assert v.hausdorff(percent) == pytest.approx(theirs, rel=1e-4)
            theirs = monai("hausdorff_distance")(*maps, percentile=percent, directed=True, **where).item()
            assert v.hausdorff(percent, "pred_to_truth") == pytest.approx(theirs, rel=1e-4)
        distance = monai("average_surface_distance")
        assert v.assd() == pytest.approx(distance(*maps, symmetric=True, **where).item(), rel=1e-5)
        assert v.assd("pred_to_truth") == pytest.approx(distance(*maps, **where).item(), rel=1e-5)
        for tolerance in TOLERANCES_MM:
            theirs = monai("surface_dice")(*maps, [tolerance], **where).item()
            assert v.nsd(tolerance) == pytest.approx(theirs, abs=1e-5)
            theirs = monai("surface_dice")(*maps, [tolerance], use_subvoxels=True, **where).item()
            assert surfels(truth, pred, spacing).nsd(tolerance) == pytest.approx(theirs, abs=1e-5)
        assert dice(truth, pred) == pytest.approx(monai("dice")(*maps).item(), rel=1e-6)
        assert iou(truth, pred) == pytest.approx(monai("iou")(*maps).item(), rel=1e-6)


def test_monai_of_empty_masks() -> None:
    for name, truth, pred in empties():
        v, maps, where = voxels(truth, pred, (1, 1, 1)), (batch(pred), batch(truth)), {"include_background": True}
        theirs = [
            monai("hausdorff_distance")(*maps, **where),
            monai("hausdorff_distance")(*maps, percentile=95, **where),
            monai("average_surface_distance")(*maps, symmetric=True, **where),
            monai("surface_dice")(*maps, [1.0], **where),
        ]
        mine = [
            v.hausdorff(both_empty=NAN),
            v.hausdorff(95, both_empty=NAN, one_empty=NAN),
            v.assd(),
            v.nsd(1.0),
        ]
        np.testing.assert_equal(mine, [value.item() for value in theirs], name)
        if truth.any():
            assert dice(truth, pred) == monai("dice")(*maps).item() == 0
        else:
            assert math.isnan(monai("dice")(*maps).item())  # whatever the prediction: `one_empty` has no side


def test_medpy() -> None:
    tool: Any = pytest.importorskip("medpy.metric.binary", reason="MedPy is not installed")
    for truth, pred, spacing in cases():
        v = voxels(truth, pred, spacing)
        assert v.hausdorff() == pytest.approx(tool.hd(pred, truth, spacing), rel=1e-12)
        assert v.hausdorff(95, "pooled") == pytest.approx(tool.hd95(pred, truth, spacing), rel=1e-12)
        assert v.assd("pred_to_truth") == pytest.approx(tool.asd(pred, truth, spacing), rel=1e-12)
        assert v.assd() == pytest.approx(tool.assd(pred, truth, spacing), rel=1e-12)  # 0.5; before, the mean of both
        assert dice(truth, pred) == tool.dc(pred, truth)
        assert iou(truth, pred) == tool.jc(pred, truth)


def contour_distances(truth: Mask, pred: Mask, spacing: tuple[float, ...]) -> tuple[Any, Any]:
    """On the contour of each mask, the distance map of the other's: the recipe of SimpleITK's notebook."""
    contours, maps = [], []
    for mask in (truth, pred):
        image = SimpleITK.GetImageFromArray(np.pad(mask, 1).astype(np.uint8))  # padded: its border faces count too
        image.SetSpacing(spacing[::-1])
        contour = SimpleITK.LabelContour(image, False)
        contours.append(SimpleITK.GetArrayFromImage(contour) == 1)
        distance = SimpleITK.SignedMaurerDistanceMap(contour, squaredDistance=False, useImageSpacing=True)
        maps.append(np.abs(SimpleITK.GetArrayFromImage(distance)))
    return maps[1][contours[0]], maps[0][contours[1]]


def test_recipe_of_simpleitk() -> None:
    for truth, pred, spacing in cases():
        v, both = voxels(truth, pred, spacing), contour_distances(truth, pred, spacing)
        assert v.hausdorff() == pytest.approx(max(side.max() for side in both), rel=1e-6)
        pooled = np.concatenate(both)
        assert v.hausdorff(95, "pooled") == pytest.approx(np.percentile(pooled, 95), rel=1e-6)
        assert v.assd() == pytest.approx(pooled.mean(), rel=1e-6)


def test_hausdorff_filter_of_simpleitk_is_of_all_voxels() -> None:
    """It looks at every voxel of a mask: a disk within a ring is far from it at its centre, which no surface is."""
    y, x = np.ogrid[:41, :41]
    square = (y - 20) ** 2 + (x - 20) ** 2
    truth, pred = square <= 15**2, (square > 14**2) & (square <= 15**2)
    images = [SimpleITK.GetImageFromArray(mask.astype(np.uint8)) for mask in (truth, pred)]
    measure = SimpleITK.HausdorffDistanceImageFilter()
    measure.Execute(*images)
    assert measure.GetHausdorffDistance() > 14
    assert voxels(truth, pred, (1, 1)).hausdorff() < 2
