"""Segmenter and segment_slice: what goes in, what comes out, on which grid, and what stops them."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

import covfast
from covfast.memory import parse_bytes
from covfast.phantom import Phantom, head_phantom, water_phantom
from covfast.pipeline import Segmenter
from covfast.volume import Geometry, Volume


@pytest.fixture(scope="module")
def segmenter(model: str) -> Segmenter:
    return Segmenter(model, device="cpu")


def dice(a: Any, b: Any) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_segmenter_on_phantom_finds_both_lungs_on_the_right_side(segmenter: Segmenter, small_phantom: Phantom) -> None:
    result = segmenter(small_phantom.volume)
    for side in (1, 2):
        assert dice(result.lungs == side, small_phantom.lungs.labels == side) > 0.9


def test_segmenter_labels_keep_the_lungs_and_add_infection_inside(segmenter: Segmenter, small_phantom: Phantom) -> None:
    result = segmenter(small_phantom.volume)
    infection = result.labels == 3
    assert infection.any()
    assert (result.lungs[infection] > 0).all()
    np.testing.assert_array_equal(result.labels[~infection], result.lungs[~infection])


@pytest.mark.parametrize("orientation", ["SPL", "IAR", "LSP", "PRI"])
def test_segmenter_answers_on_the_inputs_own_grid(
    segmenter: Segmenter, small_phantom: Phantom, orientation: str
) -> None:
    volume = small_phantom.volume
    target = Geometry.from_spacing((1, 1, 1), (1, 1, 1), orientation)
    order = np.argsort(target.axes)
    spacing = np.asarray(volume.geometry.spacing_mm)[order]
    moved = target.from_canonical(volume.geometry.to_canonical(volume.hu))
    other = Volume(np.ascontiguousarray(moved), Geometry.from_spacing(moved.shape, spacing, orientation))
    expected, got = segmenter(volume), segmenter(other)
    assert got.labels.shape == other.hu.shape
    np.testing.assert_array_equal(
        other.geometry.to_canonical(got.labels), volume.geometry.to_canonical(expected.labels)
    )


def test_segmenter_array_with_spacing_equals_volume(segmenter: Segmenter, small_phantom: Phantom) -> None:
    volume = small_phantom.volume
    canonical = volume.geometry.to_canonical(volume.hu)
    spacing = np.asarray(volume.geometry.spacing_mm)[list(volume.geometry.axes)]
    got = segmenter((canonical, tuple(spacing)))
    np.testing.assert_array_equal(got.labels, volume.geometry.to_canonical(segmenter(volume).labels))


def test_segmenter_sitk_image_equals_volume(segmenter: Segmenter, small_phantom: Phantom) -> None:
    from covfast.io import to_sitk

    got = segmenter(to_sitk(small_phantom.volume))
    np.testing.assert_array_equal(got.labels, segmenter(small_phantom.volume).labels)


@pytest.mark.parametrize("threads", [1, 3])
def test_segmenter_any_number_of_threads_same_bits(model: str, small_phantom: Phantom, threads: int) -> None:
    reference = Segmenter(model, device="cpu", threads=2)(small_phantom.volume, probabilities=True)
    result = Segmenter(model, device="cpu", threads=threads)(small_phantom.volume, probabilities=True)
    np.testing.assert_array_equal(result.labels, reference.labels)
    np.testing.assert_array_equal(result.probability, reference.probability)


def test_segmenter_used_from_several_threads_gives_the_serial_result(
    segmenter: Segmenter, small_phantom: Phantom
) -> None:
    expected = segmenter(small_phantom.volume).labels
    results: list[bool] = []

    def work() -> None:
        results.append(bool(np.array_equal(segmenter(small_phantom.volume).labels, expected)))

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == [True] * 3


def test_segmenter_probability_explains_the_labels(segmenter: Segmenter, small_phantom: Phantom) -> None:
    result = segmenter(small_phantom.volume, probabilities=True)
    assert result.probability is not None
    assert 0 <= result.probability.min() <= result.probability.max() <= 1
    np.testing.assert_array_equal(result.labels == 3, (result.probability > 0.5) & (result.lungs > 0))


def test_segmenter_reports_progress_to_the_end(segmenter: Segmenter, small_phantom: Phantom) -> None:
    seen: list[tuple[str, int, int]] = []
    segmenter(small_phantom.volume, progress=lambda *step: seen.append(step))
    assert seen[-1][0] == "segment"
    assert seen[-1][1] == seen[-1][2] > 0


def test_segmenter_cancelled_stops_within_200_ms(segmenter: Segmenter, small_phantom: Phantom) -> None:
    cancel = threading.Event()
    start = [0.0]

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "segment" and not cancel.is_set():
            cancel.set()
            start[0] = time.perf_counter()

    with pytest.raises(covfast.Cancelled):
        segmenter(small_phantom.volume, progress=stop, cancel=cancel)
    assert time.perf_counter() - start[0] < 0.2


@pytest.mark.parametrize("phantom", [water_phantom, head_phantom])
def test_segmenter_scan_without_lungs_raises(segmenter: Segmenter, phantom: Any) -> None:
    made = phantom()
    volume = getattr(made, "volume", made)
    with pytest.raises(covfast.NoLungsError):
        segmenter(volume)


def test_segmenter_memory_limit_refuses_before_the_start(model: str, small_phantom: Phantom) -> None:
    with pytest.raises(covfast.MemoryLimitError, match="memory_limit: got 10MiB, expected at least"):
        Segmenter(model, memory_limit="10MiB")(small_phantom.volume)


def test_segmenter_unknown_model_engine_precision_raise(model: str) -> None:
    with pytest.raises(covfast.WeightsError, match=r"model: got 'nope', expected the name of an installed model"):
        Segmenter("nope")
    with pytest.raises(covfast.BackendUnavailable, match="engine: got 'tvm'"):
        Segmenter(model, engine="tvm")
    with pytest.raises(covfast.BackendUnavailable, match="precision: got 'fp64'"):
        Segmenter(model, precision="fp64")
    for threads in (0, 10**9, True, "2"):
        with pytest.raises(covfast.ValueRangeError, match="threads: got"):
            Segmenter(model, threads=threads)  # type: ignore[arg-type]


def test_segmenter_arguments_that_would_be_ignored_raise(segmenter: Segmenter, small_phantom: Phantom) -> None:
    with pytest.raises(covfast.ValueRangeError, match="input_window"):
        segmenter(small_phantom.volume, input_window=(-1250, 250))
    with pytest.raises(covfast.ValueRangeError, match="on_geometry"):
        segmenter(small_phantom.volume, on_geometry="mend")
    with pytest.raises(covfast.ValueRangeError, match="image: got ndarray, list, expected a path"):
        segmenter([small_phantom.volume.hu, [1, 1, 1]])


def test_segmenter_array_alone_raises(segmenter: Segmenter) -> None:
    with pytest.raises(covfast.ShapeError, match="an array alone"):
        segmenter(np.zeros((4, 4, 4), np.int16))


@pytest.mark.parametrize(("text", "expected"), [("4GiB", 4 << 30), ("500 MB", 500_000_000), ("1024", 1024), (77, 77)])
def test_parse_bytes_reads_sizes(text: str | int, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "GiB", "-1", "1 parsec", "0"])
def test_parse_bytes_refuses_what_is_no_size(text: str) -> None:
    with pytest.raises(covfast.ValueRangeError, match="memory_limit"):
        parse_bytes(text)


def test_segment_slice_uint8_equals_float_with_window(segmenter: Segmenter) -> None:
    image = np.random.default_rng(0).integers(0, 256, (100, 130)).astype(np.uint8)
    got = covfast.segment_slice(image, segmenter)
    assert got.shape == image.shape
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, covfast.segment_slice(image / 255.0, segmenter, window=(0, 1)), atol=1e-5)


def test_segment_slice_hu_uses_the_recipes_window(segmenter: Segmenter, small_phantom: Phantom) -> None:
    image = small_phantom.volume.hu[30]
    window = next(stage for stage in segmenter.metadata["recipe"]["stages"] if stage["stage"] == "window")
    np.testing.assert_array_equal(
        covfast.segment_slice(image, segmenter),
        covfast.segment_slice(image, segmenter, window=(window["low_hu"], window["high_hu"])),
    )


@pytest.mark.parametrize(
    ("image", "error"),
    [
        (np.zeros((4, 4, 3), np.uint8), covfast.ShapeError),
        (np.zeros((0, 4), np.uint8), covfast.ShapeError),
        (np.zeros((4, 4), np.int64), covfast.DTypeError),
        (np.zeros((4, 4), np.float32), covfast.ValueRangeError),
        (np.full((4, 4), np.nan), covfast.ValueRangeError),
    ],
)
def test_segment_slice_bad_image_raises(segmenter: Segmenter, image: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"image|window"):
        covfast.segment_slice(image, segmenter)
