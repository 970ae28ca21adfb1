"""lungs: truth of the phantom and of real scans, laws, edges, errors. A method has no reference twin, only truths."""

from __future__ import annotations

import os
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import covfast
from covfast import Cancelled, DTypeError, MemoryLimitError, NoLungsError, ShapeError, ValueRangeError, _core, ops
from covfast.phantom import Phantom, chest_phantom, head_phantom, water_phantom
from covfast.volume import INFECTION, LEFT_LUNG, RIGHT_LUNG

Labels = npt.NDArray[np.uint8]
SIDES = (LEFT_LUNG, RIGHT_LUNG)
SHAPE = (80, 160, 160)


@cache
def chest(**options: Any) -> Phantom:
    return chest_phantom(SHAPE, **options)


@cache
def found(**options: Any) -> Labels:
    """Labels of `chest(**options)`; not to be written to."""
    phantom = chest(**options)
    return ops.lungs(phantom.volume.hu, phantom.volume.geometry.spacing_mm)


def dice(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def side_dice(labels: Labels, truth: Labels) -> float:
    """The worse of both lungs' Dice."""
    return min(dice(labels == side, truth == side) for side in SIDES)


@pytest.mark.parametrize(
    "options", [{"lesions": False}, {}, {"consolidation_at_pleura": False}, {"seed": 4, "padding_hu": -1024}]
)
def test_lungs_phantom_matches_truth(options: dict[str, Any]) -> None:
    assert side_dice(found(**options), chest(**options).lungs.labels) > 0.975


@pytest.mark.parametrize(("at_pleura", "least"), [(True, 0.88), (False, 0.94)])
def test_lungs_consolidation_is_kept(at_pleura: bool, least: float) -> None:
    infection = chest(consolidation_at_pleura=at_pleura).truth.labels == INFECTION
    assert (found(consolidation_at_pleura=at_pleura)[infection] > 0).mean() > least


def test_lungs_consolidated_back_is_found_by_the_ribs() -> None:
    phantom = chest(lesions=False)
    lung = phantom.lungs.labels > 0
    rows = np.nonzero(lung.any((0, 2)))[0]
    back = lung & (np.arange(SHAPE[1]) > rows[int(0.75 * len(rows))])[:, None]
    back[:40] = back[60:] = False
    hu = np.where(back, np.int16(40), phantom.volume.hu)
    labels = ops.lungs(hu, phantom.volume.geometry.spacing_mm)
    assert (labels[back] > 0).mean() > 0.45
    assert side_dice(labels, phantom.lungs.labels) > 0.96


@pytest.mark.parametrize(("shift", "least"), [(-110, 0.97), (200, 0.96), (320, 0.94)])
def test_lungs_emphysema_and_ground_glass_are_lung(shift: int, least: float) -> None:
    phantom = chest(lesions=False)
    aerated = (phantom.lungs.labels > 0) & (phantom.volume.hu < -600)
    hu = np.maximum(phantom.volume.hu + np.where(aerated, np.int16(shift), np.int16(0)), np.int16(-1024))
    assert side_dice(ops.lungs(hu, phantom.volume.geometry.spacing_mm), phantom.lungs.labels) > least


def test_lungs_touching_part_at_the_junction() -> None:
    truth, labels = chest().lungs.labels, found()
    crossed = ((labels == LEFT_LUNG) & (truth == RIGHT_LUNG)) | ((labels == RIGHT_LUNG) & (truth == LEFT_LUNG))
    assert crossed.sum() < 0.004 * (truth > 0).sum()


def test_lungs_trachea_and_stomach_are_left_out() -> None:
    phantom, labels = chest(), found()
    trachea = phantom.airways & (np.arange(SHAPE[0]) > 0.7 * SHAPE[0])[:, None, None]
    assert (labels[trachea] > 0).mean() < 0.02
    outside = (phantom.lungs.labels == 0) & ~phantom.airways
    assert (labels[outside & (phantom.volume.hu < -900)] > 0).mean() < 0.001


def test_lungs_mirrored_swaps_sides() -> None:
    hu, spacing = chest().volume.hu, chest().volume.geometry.spacing_mm
    mirrored = ops.lungs(hu[:, :, ::-1], spacing)[:, :, ::-1]
    assert side_dice(mirrored, np.array([0, 2, 1], np.uint8)[found()]) > 0.99


def test_lungs_moved_moves_labels() -> None:
    hu, spacing = chest().volume.hu, chest().volume.geometry.spacing_mm
    moved = np.pad(hu, ((0, 0), (9, 0), (0, 7)), constant_values=-1000)
    assert side_dice(ops.lungs(moved, spacing)[:, 9:, :-7], found()) > 0.99


def test_lungs_added_table_changes_nothing() -> None:
    hu, spacing = chest().volume.hu, chest().volume.geometry.spacing_mm
    table = np.pad(hu, ((0, 0), (0, 30), (0, 0)), constant_values=-1000)
    table[:, -20:-18] = table[:, -8:-6] = 150
    table[:, -18:-8] = -900  # foam between its sheets
    assert side_dice(ops.lungs(table, spacing)[:, :-30], found()) > 0.995


@pytest.mark.parametrize("cut", [slice(None, 45), slice(25, 50), slice(45, None)])
def test_lungs_cut_off_by_the_scan_are_found(cut: slice) -> None:
    phantom = chest()
    labels = ops.lungs(phantom.volume.hu[cut], phantom.volume.geometry.spacing_mm)
    assert side_dice(labels, phantom.lungs.labels[cut]) > 0.95


@pytest.mark.parametrize(("cut", "side"), [(slice(None, 84), RIGHT_LUNG), (slice(74, None), LEFT_LUNG)])
def test_lungs_single_lung_is_named_by_the_spine(cut: slice, side: int) -> None:
    phantom = chest()
    labels = ops.lungs(phantom.volume.hu[:, :, cut], phantom.volume.geometry.spacing_mm)
    truth = phantom.lungs.labels[:, :, cut] == side
    assert dice(labels == side, truth) > 0.94
    assert (labels == 3 - side).sum() < 0.05 * truth.sum()


def test_lungs_narrow_field_of_view_that_cuts_the_chest_is_accepted() -> None:
    phantom = chest()
    hu = phantom.volume.hu[:, 30:-40, 22:-22]
    labels = ops.lungs(hu, phantom.volume.geometry.spacing_mm)
    assert side_dice(labels, phantom.lungs.labels[:, 30:-40, 22:-22]) > 0.95


@pytest.mark.parametrize("padding", [-1024, -2000, -3024])
def test_lungs_padding_value_does_not_matter(padding: int) -> None:
    phantom = chest(padding_hu=-1024)
    hu = np.where(phantom.volume.hu == -1024, np.int16(padding), phantom.volume.hu)
    assert side_dice(ops.lungs(hu, phantom.volume.geometry.spacing_mm), phantom.lungs.labels) > 0.97


@pytest.mark.parametrize("spacing_mm", [(1.5, 1.2, 1.2), (10.0, 2.0, 2.0), (4.0, 4.0, 4.0)])
def test_lungs_any_spacing_matches_truth(spacing_mm: tuple[float, float, float]) -> None:
    shape = tuple(round(extent / step) for extent, step in zip((320, 360, 360), spacing_mm, strict=True))
    phantom = chest_phantom(shape, spacing_mm)
    assert side_dice(ops.lungs(phantom.volume.hu, spacing_mm), phantom.lungs.labels) > 0.95


def test_lungs_every_backend_gives_the_same_bits(backend: str) -> None:
    hu, spacing = chest().volume.hu, chest().volume.geometry.spacing_mm
    np.testing.assert_array_equal(ops.lungs(hu, spacing), found())


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_lungs_threads_give_the_same_bits(threads: int) -> None:
    hu, spacing = chest().volume.hu, chest().volume.geometry.spacing_mm
    np.testing.assert_array_equal(ops.lungs(hu, spacing, threads=threads), found())


def test_lungs_float_equals_int16(backend: str) -> None:
    hu, spacing = chest().volume.hu, chest().volume.geometry.spacing_mm
    np.testing.assert_array_equal(ops.lungs(hu.astype(np.float32), spacing), found())


def test_lungs_strided_views_equal_copies_and_are_not_written(backend: str) -> None:
    hu, spacing = chest().volume.hu, chest().volume.geometry.spacing_mm
    stored = np.ascontiguousarray(hu.transpose(2, 0, 1)[:, ::-1])
    before = stored.copy()
    view = stored[:, ::-1].transpose(1, 2, 0)
    np.testing.assert_array_equal(ops.lungs(view, spacing), found())
    np.testing.assert_array_equal(stored, before)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 4), (1, 64, 64), (64, 1, 64), (3, 200, 1)])
@pytest.mark.parametrize("hu", [-1000, -850, 0])
def test_lungs_uniform_or_tiny_volume_has_none(backend: str, shape: tuple[int, int, int], hu: int) -> None:
    with pytest.raises(NoLungsError, match="mL"):
        ops.lungs(np.full(shape, hu, np.int16), (2.0, 1.0, 1.0))


@pytest.mark.parametrize("hu", [-1024, -1000, -850, 0, 3071])
def test_lungs_uniform_volume_has_none(hu: int) -> None:
    with pytest.raises(NoLungsError):
        ops.lungs(np.full((60, 100, 100), hu, np.int16), (3.0, 3.0, 3.0))


@pytest.mark.parametrize("phantom", [water_phantom, head_phantom])
def test_lungs_scan_without_lungs_has_none(phantom: Any) -> None:
    volume = phantom()
    with pytest.raises(NoLungsError, match="hu: got no air that can be lung"):
        ops.lungs(volume.hu, volume.geometry.spacing_mm)


def test_lungs_abdomen_with_bowel_gas_has_none() -> None:
    rng = np.random.default_rng(0)
    z, y, x = np.ogrid[-60:60:2.5, -160:160:2.5, -200:200:2.5]
    hu = np.where((y / 120) ** 2 + (x / 170) ** 2 < 1, 40.0, -1000.0) + 0 * z
    hu[(y + 50) ** 2 + (x + 60) ** 2 + z**2 < 45**2] = -990
    hu[((y + 60) / 20) ** 2 + ((x - 50) / 60) ** 2 + (z / 30) ** 2 < 1] = -980
    with pytest.raises(NoLungsError):
        ops.lungs((hu + rng.normal(0, 15, hu.shape)).astype(np.int16), (2.5, 2.5, 2.5))


def test_lungs_wrong_arguments_raise() -> None:
    hu = np.zeros((4, 4, 4), np.int16)
    with pytest.raises(ShapeError, match="hu: got 2 axes"):
        ops.lungs(hu[0], (1, 1, 1))
    with pytest.raises(ShapeError, match="expected at least 1"):
        ops.lungs(hu[:0], (1, 1, 1))
    with pytest.raises(ShapeError, match="spacing_mm: got"):
        ops.lungs(hu, (1, 1))
    with pytest.raises(DTypeError, match="hu: got uint8"):
        ops.lungs(hu.astype(np.uint8), (1, 1, 1))
    for bad in (0.0, -1.0, 1e-4, 1e-300, 1001.0, 1e300, float("nan"), float("inf")):
        with pytest.raises(ValueRangeError, match="spacing_mm: got"):
            ops.lungs(hu, (1, bad, 1))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_lungs_voxel_that_is_not_finite_raises(backend: str, bad: float) -> None:
    hu = np.zeros((9, 20, 3000), np.float32)
    hu[4, 7, 1500] = bad
    with pytest.raises(ValueRangeError, match="hu: got NaN or infinity near slice"):
        ops.lungs(hu, (1, 1, 1))


def test_lungs_cancelled_stops() -> None:
    flag = threading.Event()
    flag.set()
    with pytest.raises(Cancelled):
        ops.lungs(chest().volume.hu, chest().volume.geometry.spacing_mm, cancel=flag)


@pytest.mark.parametrize("step", [1, 3, 4, 5, 6])
def test_lungs_cancelled_from_progress_returns_within_200_ms(step: int) -> None:
    hu = chest().volume.hu.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    waits = []
    for _ in range(3):  # the best of three: another process may hold the CPU
        flag, began = threading.Event(), 0.0

        def watch(stage: str, done: int, total: int, flag: threading.Event = flag) -> None:
            nonlocal began
            if done >= step and not flag.is_set():
                flag.set()
                began = time.perf_counter()

        with pytest.raises(Cancelled):
            ops.lungs(hu, (2.0, 1.7, 1.7), progress=watch, cancel=flag)
        waits.append(time.perf_counter() - began)
    assert min(waits) < 0.2


def test_lungs_polls_oftener_than_every_200_ms() -> None:
    hu = chest().volume.hu.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    longest = []
    for _ in range(3):
        polls: list[float] = [time.perf_counter()]
        ops.lungs(hu, (2.0, 1.7, 1.7), progress=lambda *_, polls=polls: polls.append(time.perf_counter()))
        longest.append(max(np.diff([*polls, time.perf_counter()])))
    assert min(longest) < 0.2


@pytest.mark.parametrize("spacing_mm", [(2.0, 1.7, 1.7), (3.0, 1.37, 1.37)])
def test_lungs_wide_grid_is_bounded_and_matches_truth(spacing_mm: tuple[float, float, float]) -> None:
    shape = tuple(round(extent / step) for extent, step in zip((480, 600, 600), spacing_mm, strict=True))
    phantom = chest_phantom(shape, spacing_mm)
    assert _core.lungs_workspace_bytes(shape, spacing_mm) < 8e6 * 24 + 1
    assert side_dice(ops.lungs(phantom.volume.hu, spacing_mm), phantom.lungs.labels) > 0.97


def test_lungs_workspace_follows_the_coarse_grid_and_its_limit() -> None:
    assert _core.lungs_workspace_bytes((250, 500, 500), (1.25, 0.8, 0.8)) == 125 * 167 * 167 * 24
    big = _core.lungs_workspace_bytes((350, 512, 512), (2.0, 1.7, 1.7))
    assert big + 3 * 350 * 512 * 512 < 6 * 350 * 512 * 512  # with int16 and labels, at most 6 bytes a voxel
    with pytest.raises(MemoryLimitError, match="hu: got 1048576 x"):
        _core.lungs_workspace_bytes((1 << 20, 1 << 20, 1 << 20), (1.0, 1.0, 1.0))
    with pytest.raises(ShapeError, match="expected at least 1"):
        _core.lungs_workspace_bytes((0, 4, 4), (1.0, 1.0, 1.0))


def test_lungs_interrupted_raises_keyboard_interrupt() -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ops.lungs(chest().volume.hu, chest().volume.geometry.spacing_mm, progress=interrupt)


def canonical(path: Path) -> tuple[Any, tuple[float, float, float], Any]:
    volume = covfast.read(path)
    return volume.geometry.to_canonical(volume.hu), volume.geometry.canonical().spacing_mm, volume.geometry


def labels_of(path: Path) -> Labels:
    """Canonical label map of a file that is no CT."""
    sitk = pytest.importorskip("SimpleITK")
    array: Labels = sitk.GetArrayFromImage(sitk.DICOMOrient(sitk.ReadImage(os.fspath(path)), "LPS")) & 255
    return array


def test_lungs_real_chest_matches_the_atlas(data_dir: Path) -> None:
    folder = data_dir / "volumes" / "cip_thorax"
    hu, spacing, _ = canonical(folder / "ct-64.nrrd")
    lobes = labels_of(folder / "lm-64.nrrd")
    truth = np.select([(lobes >= 9) & (lobes <= 11), (lobes >= 12) & (lobes <= 14)], SIDES, 0)
    assert side_dice(ops.lungs(hu, spacing), truth.astype(np.uint8)) > 0.975


def test_lungs_real_single_lung_matches_its_mask(data_dir: Path) -> None:
    folder = data_dir / "volumes" / "elastix_lung"
    hu, spacing, _ = canonical(folder / "3DCT_lung.mha")
    labels = ops.lungs(hu, spacing)
    assert dice(labels == RIGHT_LUNG, labels_of(folder / "3DCT_lung_baseline_mask.mha") > 0) > 0.98
    assert not (labels == LEFT_LUNG).any()


def test_lungs_real_covid_scan_is_plausible(data_dir: Path) -> None:
    hu, spacing, geometry = canonical(data_dir / "dicom" / "ricord_1a_series")
    labels = ops.lungs(hu, spacing)
    left, right = (float((labels == side).sum()) * geometry.voxel_ml for side in SIDES)
    assert 1400 < left < 1600  # checked by eye on the contours
    assert 1250 < right < 1500  # smaller: consolidated at the back
    columns = np.nonzero(labels == LEFT_LUNG)[2].mean(), np.nonzero(labels == RIGHT_LUNG)[2].mean()
    assert columns[0] > columns[1]
    dense = (labels > 0) & (hu > -300) & (hu < 100)
    assert dense.sum() * geometry.voxel_ml > 150  # its consolidations are inside
