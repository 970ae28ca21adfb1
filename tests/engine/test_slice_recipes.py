"""Recipes of axial slices: postprocessing by hand, laws, threads, what does not fit."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import covfast
from covfast import package
from covfast.errors import Cancelled, DTypeError, FormatError, MemoryLimitError, ShapeError, ValueRangeError
from covfast.slice_ops import clean_lung_labels, prepare_slices

SPACING = (5.0, 2.0, 2.0)
CLEAN = {"stage": "lung_components"}
ORIENT = {"stage": "orient", "to": "SPL"}


def stages(*more: dict[str, Any], values: tuple[int, ...] = (0, 1), **changes: Any) -> list[dict[str, Any]]:
    slices = {"stage": "slices", "crop": "body", "size": [32, 32], "low_hu": -1024, "high_hu": 600, **changes}
    return [slices, {"stage": "network"}, {"stage": "argmax", "values": list(values)}, *more]


def write(path: Path, recipe: list[dict[str, Any]], levels_hu: dict[str, float] | None = None) -> Path:
    """A package of 1x1 convolutions that tell what is below a HU: "main" first, and members."""
    levels_hu = levels_hu or {"main": -400.0}
    tensors: dict[str, Any] = {}
    graphs = {}
    for name, hu in levels_hu.items():
        prefix = "" if name == "main" else f"{name}/"
        level = (hu + 1024) / 1624
        tensors[f"{prefix}weight"] = np.array([1.0, -1.0], np.float32).reshape(2, 1, 1, 1)
        tensors[f"{prefix}bias"] = np.array([-level, level], np.float32)
        window = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}
        node = {"op": "conv", "inputs": ["x"], "output": "y", **window}
        node |= {"weight": f"{prefix}weight", "bias": f"{prefix}bias"}
        graphs[name] = {"inputs": [{"name": "x", "channels": 1, "rank": 2}], "outputs": ["y"], "nodes": [node]}
    contract = {"channels": 1, "rank": 2, "multiple": [1, 1], "size": None}
    others = [{"name": name, "graph": graph, "input": contract} for name, graph in graphs.items() if name != "main"]
    return package.write(
        path,
        tensors,
        graphs["main"],
        recipe={"version": 1, "stages": recipe},
        labels={1: "air"},
        input_contract=contract,
        licence="none",
        provenance={},
        name="levels",
        **({"member": "main", "members": others} if others else {}),
    )


def body(shape: tuple[int, int, int] = (6, 60, 70)) -> npt.NDArray[np.int16]:
    """Tissue with one lung of air that a vessel runs through, and a bubble."""
    hu = np.full(shape, -1000, np.int16)
    hu[:, 8:52, 6:64] = 40
    hu[:, 20:40, 12:30] = -850
    hu[:, 30:34, 18:24] = 50
    hu[2:4, 24:28, 44:48] = -900
    return hu


def run(path: Path, hu: npt.NDArray[Any], **options: Any) -> npt.NDArray[np.uint8]:
    return covfast.Segmenter(path, **options)((hu, SPACING)).labels


def test_slices_labels_lie_where_the_network_sees_them(tmp_path: Path) -> None:
    hu = body()
    labels = run(write(tmp_path / "m.covfast", [ORIENT, *stages(size=[44, 58])]), hu)
    inside = np.zeros(hu.shape, bool)
    box = prepare_slices(hu)[1][0]
    inside[:, box[0, 0] : box[1, 0], box[0, 1] : box[1, 1]] = True
    assert not labels[~inside].any()
    wrong = (labels == 1) != (hu < -400)
    assert wrong[inside].mean() < 0.02  # zooming moves edges by a voxel at most


def test_lung_components_clean_the_labels_of_the_whole_volume(tmp_path: Path) -> None:
    hu = (body() + 300 * np.random.default_rng(0).standard_normal(body().shape)).astype(np.int16)
    whole = {"crop": "none", "size": list(hu.shape[1:])}  # what the network sees is the slice itself
    plain = run(write(tmp_path / "m.covfast", [ORIENT, *stages(**whole)]), hu)
    np.testing.assert_array_equal(plain == 1, hu < -400)
    cleaned = run(write(tmp_path / "c.covfast", [ORIENT, *stages(CLEAN, **whole)]), hu)
    np.testing.assert_array_equal(cleaned, clean_lung_labels(plain))
    assert (cleaned != plain).any()


def test_slices_any_number_of_threads_gives_the_same_bits(tmp_path: Path) -> None:
    path = write(tmp_path / "m.covfast", [ORIENT, *stages(CLEAN)])
    hu = (body((40, 60, 70)) + 500 * np.random.default_rng(0).standard_normal((40, 60, 70))).astype(np.int16)
    one = run(path, hu, threads=1)
    for threads in (2, 5):
        np.testing.assert_array_equal(run(path, hu, threads=threads), one)
    assert 0 < one.mean() < 1


def test_fill_from_joins_what_only_the_other_labels_and_clears_the_rest(tmp_path: Path) -> None:
    hu = body()
    hu[:, 24:28, 14:18] = -300  # dense lung: only the member, up to -200 HU, takes it for lung
    plain = run(write(tmp_path / "m.covfast", [ORIENT, *stages()]), hu)
    filling = {"stage": "fill_from", "member": "wide", "stages": stages()}
    levels = {"main": -400.0, "wide": -200.0}
    filled = run(write(tmp_path / "f.covfast", [ORIENT, *stages(), filling], levels), hu)
    assert plain[3, 26, 16] == 0
    assert filled[3, 26, 16] == 1
    levels["wide"] = -880.0  # the bubble alone
    narrow = run(write(tmp_path / "n.covfast", [ORIENT, *stages(), filling], levels), hu)
    assert narrow[3, 26, 46] == 1
    assert narrow[3, 22, 14] == 0


def test_slices_of_a_float_volume_are_not_rounded() -> None:
    hu = body().astype(np.float32) + 0.25
    x, _ = prepare_slices(hu, (60, 70))
    whole, _ = prepare_slices(body(), (60, 70))
    assert np.allclose(np.median(x - whole), 0.25 / 1624, atol=1e-6)


def test_clean_lung_labels_small_regions_join_the_neighbour_with_most_contact() -> None:
    labels = np.ones((7, 9, 20), np.uint8)
    labels[:, :, 10:] = 2
    labels[3, 4, 2:6] = 2  # inside 1
    labels[3, 4, 9] = 2
    labels[3, 4, 15:17] = 1  # two voxels: too small to join, a hole of 2
    expected = labels.copy()
    expected[3, 4, 2:6] = 1
    expected[3, 4, 15:17] = 2
    np.testing.assert_array_equal(clean_lung_labels(labels), expected)


def test_clean_lung_labels_spare_is_gone() -> None:
    labels = np.zeros((6, 10, 12), np.uint8)
    labels[1:5, 2:8, 1:5] = 1
    labels[1:5, 2:8, 5:9] = 3  # next to 1
    labels[1:3, 0, 10:] = 3  # alone
    expected = np.zeros_like(labels)
    expected[1:5, 2:8, 1:9] = 1
    np.testing.assert_array_equal(clean_lung_labels(labels, 3), expected)


def test_clean_lung_labels_of_one_slice_fills_small_holes_only() -> None:
    labels = np.zeros((1, 40, 60), np.uint8)
    labels[0, 2:38, 2:58] = 1
    labels[0, 5:12, 5:14] = 0  # 63 pixels
    labels[0, 20:28, 20:28] = 0  # 64
    expected = labels.copy()
    expected[0, 5:12, 5:14] = 1
    np.testing.assert_array_equal(clean_lung_labels(labels), expected)


def test_clean_lung_labels_of_nothing_is_nothing() -> None:
    assert not clean_lung_labels(np.zeros((3, 5, 5), np.uint8)).any()


@pytest.mark.parametrize(
    "recipe",
    [
        [ORIENT, *stages(size=[0, 32])],
        [ORIENT, *stages(size=[32, 4097])],
        [ORIENT, *stages(crop="lungs")],
        [ORIENT, *stages(low_hu=700)],
        [{"stage": "orient", "to": "SAR"}, *stages()],
        [ORIENT, {"stage": "lungs"}, *stages()],
        [ORIENT, *stages()[:2]],
        [ORIENT, stages()[0], stages()[2]],
        [ORIENT, *stages()[:2], {"stage": "softmax"}, stages()[2]],
        [ORIENT, *stages()[:2], {"stage": "regions", "values": [0, 1]}],
        [ORIENT, *stages(values=(0, 1, 2))],
        [ORIENT, *stages({"stage": "lung_components", "keep": 1})],
        [ORIENT, *stages({"stage": "fill_from", "member": "wide", "stages": stages()})],
        [ORIENT, *stages({"stage": "fill_from", "member": "wide", "stages": [{"stage": "lungs"}]})],
        [ORIENT, {"stage": "tile", "size": [1, 0, 0]}, CLEAN],
    ],
)
def test_recipe_of_slices_that_does_not_fit_is_a_format_error(tmp_path: Path, recipe: list[dict[str, Any]]) -> None:
    with pytest.raises(FormatError, match=r"got .*, expected "):
        run(write(tmp_path / "m.covfast", recipe), body())


def test_fill_from_within_fill_from_is_a_format_error(tmp_path: Path) -> None:
    inner = {"stage": "fill_from", "member": "wide", "stages": stages()}
    outer = {"stage": "fill_from", "member": "wide", "stages": stages(inner)}
    with pytest.raises(FormatError, match="another 'fill_from'"):
        run(write(tmp_path / "m.covfast", [ORIENT, *stages(outer)], {"main": -400, "wide": -200}), body())


def test_slices_cancel_and_memory_limit_stop_the_run(tmp_path: Path) -> None:
    path = write(tmp_path / "m.covfast", [ORIENT, *stages(CLEAN)])
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        covfast.Segmenter(path)((body(), SPACING), cancel=cancel)
    with pytest.raises(MemoryLimitError):
        run(path, body(), memory_limit="1MiB")


def test_slices_large_ones_come_in_smaller_batches(tmp_path: Path) -> None:
    path, hu = write(tmp_path / "m.covfast", [ORIENT, *stages(size=[1900, 2000])]), body()
    hu[3, 10:16, 40:60] = -700
    labels = run(path, hu)
    assert labels[3].sum() > labels[4].sum()
    for d in range(len(hu)):
        np.testing.assert_array_equal(run(path, hu[d : d + 1])[0], labels[d])
    run(path, hu, memory_limit="600MiB")  # with 16 slices at a time: more than 1 GiB


def test_slices_memory_of_a_larger_filling_network_counts(tmp_path: Path) -> None:
    def with_filling_of(size: int) -> Path:
        fill = {"stage": "fill_from", "member": "wide", "stages": stages(size=[size, size])}
        return write(tmp_path / f"{size}.covfast", [ORIENT, *stages(fill)], {"main": -400.0, "wide": -200.0})

    run(with_filling_of(32), body(), memory_limit="200MiB")
    with pytest.raises(MemoryLimitError):
        run(with_filling_of(1024), body(), memory_limit="200MiB")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: prepare_slices(np.full((1, 9, 9), np.nan, np.float32)), ValueRangeError),
        (lambda: prepare_slices(body(), (0, 4)), ShapeError),
        (lambda: prepare_slices(body(), (4,)), ShapeError),
        (lambda: prepare_slices(body()[0]), ShapeError),
        (lambda: prepare_slices(body().astype(np.int32)), DTypeError),
        (lambda: prepare_slices(body(), window_hu=(5, 5)), ValueRangeError),
        (lambda: clean_lung_labels(np.zeros((2, 2, 2), np.int16)), DTypeError),
        (lambda: clean_lung_labels(np.zeros((2, 2, 2), np.uint8), 300), ValueRangeError),
    ],
)
def test_wrong_arguments_are_typed_errors(call: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"got .*, expected "):
        call()
