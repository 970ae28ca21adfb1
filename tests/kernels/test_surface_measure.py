"""surface_measure: matches its reference on every backend, for every type, layout and label; the same bits always."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from metrics import masks
from reference import surface as reference

from covfast import CovfastError, ShapeError, ValueRangeError, _core

pytestmark = pytest.mark.op("surface_search")

Array = npt.NDArray[Any]
Labels = list[tuple[list[int], list[int]]]
DTYPES = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]
ONE: Labels = [([1], [1])]
FOUR: Labels = [([1], [1]), ([2], [2]), ([3], [3]), ([1, 2], [2, 4])]
SCATTERED: Labels = [([1], [1]), ([2], [2]), ([3], [3]), ([1, 3], [1, 2])]
SPACING = (2.5, 0.8, 0.7)
# Distances and sizes are the same numbers but for the order in which a few products are rounded.
CLOSE = 1e-12


@cache
def maps() -> tuple[Array, Array]:
    """Two label maps with 0 to 4, related but not alike; not to be written to."""
    rng = np.random.default_rng(1)
    noise = [masks.blobs((17, 23, 70), rng, 0.4, 2.0) for _ in range(4)]
    truth = np.zeros((17, 23, 70), np.uint8)
    for value, blob in enumerate(noise, 1):
        truth[blob] = value
    prediction = np.roll(truth, (1, -1, 2), (0, 1, 2))
    prediction[rng.random(truth.shape) < 0.03] = 3
    return truth, prediction


def measure(
    truth: Array,
    prediction: Array,
    labels: Labels = ONE,
    spacing_mm: tuple[float, ...] = SPACING,
    kind: str = "surfels",
    threads: int = 1,
) -> list[Any]:
    found: list[Any] = _core.surface_measure(truth, prediction, labels, spacing_mm, kind, "auto", threads)
    return found


@cache
def expected(kind: str = "surfels") -> list[reference.LabelMeasure]:
    return reference.surface_measure(*maps(), FOUR, SPACING, kind)


def ranks(values: Array) -> Array:
    """Number of each value among the distinct ones, those within rounding being one."""
    order = np.argsort(values)
    ordered = values[order]
    with np.errstate(invalid="ignore"):
        steps = ordered[1:] - ordered[:-1] > CLOSE * ordered[1:]
    found = np.empty(len(values), np.int64)
    found[order] = np.concatenate([[0], np.cumsum(steps)]) if len(values) else order
    return found


def assert_same_groups(got: Any, want: Any, name: str) -> None:
    distance, element, count = got
    assert (distance.dtype, element.dtype, count.dtype) == (np.float64, np.float64, np.int64)
    order = np.lexsort((element, distance))
    assert np.array_equal(order, np.arange(len(order))), f"{name}: groups are not sorted"
    assert len(np.unique(np.stack([distance, element]), axis=1).T) == len(distance), f"{name}: groups repeat"
    places = ranks(np.concatenate([distance, want[0]])), ranks(np.concatenate([element, want[1]]))
    counts = np.concatenate([count, -np.asarray(want[2])])
    keys, of = np.unique(np.stack(places), axis=1, return_inverse=True)
    sums = np.bincount(of.ravel(), counts, keys.shape[1])
    assert not sums.any(), f"{name}: {np.count_nonzero(sums)} of {len(sums)} groups hold other counts"


def assert_matches(got: list[Any], want: list[Any], name: str = "") -> None:
    assert len(got) == len(want)
    for index, (mine, theirs) in enumerate(zip(got, want, strict=True)):
        assert tuple(mine[:4]) == tuple(theirs[:4]), f"{name}, label {index}: counts"
        for side in (4, 5):
            assert_same_groups(mine[side], theirs[side], f"{name}, label {index}, direction {side - 4}")


def bits(found: list[Any]) -> list[Any]:
    return [(*one[:4], *(array.tobytes() for side in (4, 5) for array in one[side])) for one in found]


@cache
def expected_family(family: str, kind: str) -> list[reference.LabelMeasure]:
    return [reference.measure(one.truth, one.prediction, one.spacing_mm, kind) for one in masks.pairs(family)]


@pytest.mark.parametrize("kind", ["surfels", "voxels"])
@pytest.mark.parametrize("family", masks.FAMILIES)
def test_surface_measure_matches_reference(family: str, kind: str, backend: str) -> None:
    for one, want in zip(masks.pairs(family), expected_family(family, kind), strict=True):
        assert_matches([*measure(one.truth, one.prediction, ONE, one.spacing_mm, kind)], [want], one.name)


@pytest.mark.parametrize("kind", ["surfels", "voxels", "none"])
def test_surface_measure_labels_and_value_sets_match_reference(kind: str, backend: str) -> None:
    for number in range(1, len(FOUR) + 1):
        got = measure(*maps(), FOUR[:number], kind=kind, threads=2)
        assert_matches(got, expected(kind)[:number], f"{number} labels")


@pytest.mark.skipif(not reference.IS_FUSED, reason="BLAS rounds norms otherwise here")
def test_surface_measure_areas_have_the_bits_of_deepmind_s(backend: str) -> None:
    rng = np.random.default_rng(2)
    dust = rng.random((24, 24, 24)) < 0.5  # has every code
    for spacing in (*masks.SPACINGS, *(tuple(rng.uniform(0.3, 5, 3)) for _ in range(20))):
        found = set(measure(dust, dust, ONE, spacing)[0][4][1].tolist())
        assert found == set(reference.area_table(spacing)[1:255].tolist()), spacing


@pytest.mark.parametrize("dtype", DTYPES)
def test_surface_measure_any_type_gives_the_same(dtype: str, backend: str) -> None:
    truth, prediction = (np.asarray(array == 1 if dtype == "bool" else array, dtype) for array in maps())
    labels = ONE if dtype == "bool" else FOUR
    plain = [np.asarray(array == 1, np.uint8) if dtype == "bool" else array for array in maps()]
    want = bits(measure(*plain, labels))
    assert bits(measure(truth, prediction, labels)) == want
    assert bits(measure(truth, plain[1], labels)) == want
    assert bits(measure(plain[0], prediction, labels)) == want


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("int8", (-128, 127)),
        ("int16", (-32768, 300)),
        ("uint16", (65535, 256)),
        ("int32", (-5, 70000)),
        ("uint32", (2**32 - 1, 2**31)),
        ("int64", (-(2**40), 2**40 + 1)),
        ("float32", (-7, 2**24)),
        ("float64", (-(2**40), 2**53)),
    ],
)
def test_surface_measure_values_of_any_size_are_told_apart(dtype: str, values: tuple[int, int], backend: str) -> None:
    truth, prediction = (np.zeros(array.shape, dtype) for array in maps())
    for value, number in zip(values, (1, 2), strict=True):
        truth[maps()[0] == number] = value
        prediction[maps()[1] == number] = value
    labels = [([value], [value]) for value in values]
    assert bits(measure(truth, prediction, labels)) == bits(measure(*maps(), FOUR[:2]))


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "Fortran": np.asfortranarray,
    "reversed": lambda array: array[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1],
    "reversed last": lambda array: array[..., ::-1].copy()[..., ::-1],
    "every second": lambda array: np.repeat(np.repeat(array, 2, axis=2), 2, axis=0)[::2, :, ::2],
    "every third, backwards": lambda array: np.repeat(array[..., ::-1], 3, axis=2)[..., ::-3],
    "inside": lambda array: np.pad(array, ((2, 1), (3, 4), (5, 6)), constant_values=1)[2:-1, 3:-4, 5:-6],
    "read-only": lambda array: np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape),
    **{
        f"stored {order}": lambda array, order=order: array.transpose(order).copy().transpose(np.argsort(order))
        for order in permutations(range(3))
    },
}


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float64"])
def test_surface_measure_any_layout_gives_the_same(dtype: str, backend: str) -> None:
    truth, prediction = (array.astype(dtype) for array in maps())
    want = bits(measure(truth, prediction, FOUR))
    for name, layout in LAYOUTS.items():
        assert bits(measure(layout(truth), prediction, FOUR)) == want, name
        assert bits(measure(truth, layout(prediction), FOUR)) == want, name
        assert bits(measure(layout(truth), layout(prediction), FOUR, threads=2)) == want, name


def test_surface_measure_one_row_for_all_is_read_as_all(backend: str) -> None:
    row = np.broadcast_to(maps()[0][:1, :1], maps()[0].shape)  # strides of zero
    assert bits(measure(row, maps()[1], FOUR)) == bits(measure(row.copy(), maps()[1], FOUR))


def test_surface_measure_axes_permuted_permute_the_spacing(backend: str) -> None:
    for order in permutations(range(3)):
        turned = measure(*(array.transpose(order) for array in maps()), FOUR, tuple(SPACING[axis] for axis in order))
        for got, want in zip(turned, expected(), strict=True):
            for side in (4, 5):
                totals = [(one[side][0] * one[side][1] * one[side][2]).sum() for one in (got, want)]
                assert totals[0] == pytest.approx(totals[1], rel=1e-12), order
                assert got[side][2].sum() == want[side][2].sum(), order


def test_surface_measure_image_is_a_volume_without_depth(backend: str) -> None:
    flat = measure(*(array[8] for array in maps()), FOUR, SPACING[1:])
    want = reference.surface_measure(*(array[8] for array in maps()), FOUR, SPACING[1:], "surfels")
    assert_matches(flat, want)


@pytest.mark.parametrize("kind", ["surfels", "voxels"])
def test_surface_measure_any_number_of_threads_gives_the_same_bits(kind: str, backend: str) -> None:
    want = bits(measure(*maps(), FOUR, kind=kind))
    for threads in (1, 2, 3, 0):
        for _ in range(3):
            assert bits(measure(*maps(), FOUR, kind=kind, threads=threads)) == want, threads


@cache
def scattered() -> tuple[Array, Array]:
    """Larger maps with all that a search meets: near and far surfaces, islands, one side of a label missing."""
    rng = np.random.default_rng(2)
    truth = np.zeros((48, 75, 150), np.uint8)
    truth[4:30, 10:50, 20:130][masks.blobs((26, 40, 110), rng, 0.5, 4.0)] = 1
    prediction = np.roll(truth, 1, 1)
    prediction[:, :, :70] = 0
    prediction[rng.random(truth.shape) < 2e-4] = 1
    truth[40:, 60:, 140:] = 2
    prediction[0, 0, 0] = 2
    truth[47, 74, 149] = 3
    return truth, prediction


@cache
def of_first_backend(kind: str) -> list[Any]:
    """What the backend that the first test forces finds."""
    return bits(measure(*scattered(), SCATTERED, kind=kind))


@pytest.mark.parametrize("kind", ["surfels", "voxels"])
def test_surface_measure_all_backends_find_the_same_groups(kind: str, backend: str) -> None:
    assert bits(measure(*scattered(), SCATTERED, kind=kind)) == of_first_backend(kind)


def test_surface_measure_inputs_are_not_written_to(backend: str) -> None:
    truth, prediction = (array.copy() for array in maps())
    measure(truth, prediction, FOUR, threads=2)
    assert np.array_equal(truth, maps()[0])
    assert np.array_equal(prediction, maps()[1])


def test_surface_measure_both_sides_one_array_is_zero_everywhere(backend: str) -> None:
    for one in measure(maps()[0], maps()[0], FOUR[:3]):
        assert not one[4][0].any()
        assert (one[1], one[2]) == (0, 0)


def of_worker(threads: int) -> list[Any]:
    return bits(measure(*maps(), FOUR, threads=threads))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_surface_measure_works_in_forked_workers(backend: str) -> None:
    if backend == "cuda":
        pytest.skip("CUDA cannot be used in a child of a process that used it; it says so there")
    want = of_worker(2)  # the parent's pool has threads now; the children inherit none of them
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        assert all(found == want for found in pool.map(of_worker, [1, 2, 3, 2], timeout=60))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_surface_measure_works_in_a_data_loader(backend: str) -> None:
    if backend == "cuda":
        pytest.skip("CUDA cannot be used in a child of a process that used it; it says so there")
    data = pytest.importorskip("torch.utils.data", reason="torch is not installed: covfast[train]")

    class Cases(data.Dataset):  # type: ignore[misc,name-defined]
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> str:  # which a loader hands on as it is
            return repr(of_worker(1 + index % 3))

    want = repr(of_worker(2))
    loader = data.DataLoader(Cases(), batch_size=None, num_workers=2, multiprocessing_context="fork")
    assert all(found == want for found in loader)


def test_surface_measure_concurrent_calls_are_right(backend: str) -> None:
    want = of_worker(1)
    results: list[bool] = []
    workers = [
        threading.Thread(target=lambda n=n: results.extend(of_worker(n) == want for _ in range(5)))
        for n in (1, 2, 3, 2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == [True] * 20


def test_surface_measure_empty_other_side_is_infinitely_far(backend: str) -> None:
    truth, prediction = maps()
    (one,) = measure(truth, prediction, [([1], [9])])
    assert np.isinf(one[4][0]).all()
    assert len(one[4][0]) >= 1
    assert [len(array) for array in one[5]] == [0, 0, 0]


@pytest.mark.parametrize(
    ("truth", "prediction", "error"),
    [
        (np.zeros((3, 3, 3), np.uint8), np.zeros((3, 3, 4), np.uint8), ShapeError),
        (np.zeros((3, 3, 3), np.uint8), np.zeros((3, 3), np.uint8), ShapeError),
        (np.zeros(3, np.uint8), np.zeros(3, np.uint8), ShapeError),
        (np.zeros((1, 1, 1, 1), np.uint8), np.zeros((1, 1, 1, 1), np.uint8), ShapeError),
        (np.full((3, 3, 3), 0.5), np.zeros((3, 3, 3)), ValueRangeError),
        (np.zeros((3, 3, 3), np.float32), np.full((3, 3, 3), np.nan, np.float32), ValueRangeError),
        (np.zeros((3, 3, 3)), np.full((3, 3, 3), np.inf), ValueRangeError),
    ],
)
def test_surface_measure_bad_maps_are_refused(truth: Array, prediction: Array, error: type[CovfastError]) -> None:
    with pytest.raises(error):
        measure(truth, prediction, ONE, SPACING[: truth.ndim])


@pytest.mark.parametrize("spacing_mm", [(0.0, 1, 1), (-1.0, 1, 1), (np.nan, 1, 1), (np.inf, 1, 1)])
def test_surface_measure_bad_spacing_is_refused(spacing_mm: tuple[float, ...]) -> None:
    with pytest.raises(ValueRangeError):
        measure(*maps(), ONE, spacing_mm)


def test_surface_measure_spacing_of_another_rank_is_refused() -> None:
    with pytest.raises(CovfastError):
        measure(*maps(), ONE, (1.0, 1.0))


def test_surface_measure_axes_of_very_different_spacing(backend: str) -> None:
    truth, prediction = np.zeros((2, 20, 20, 20), bool)
    truth[0], prediction[19] = True, True
    distances = measure(truth, prediction, ONE, (1e9, 1e-9, 1.0))[0][4][0]
    assert distances[-1] == 19e9


def test_surface_measure_any_byte_but_zero_of_a_bool_map_is_true(backend: str) -> None:
    truth = maps()[0] == 1
    odd = (truth.astype(np.uint8) * 255).view(bool)
    for map_ in (odd, odd[:, ::-1, ::2]):
        like = truth if map_ is odd else truth[:, ::-1, ::2]
        for values in ([1], [0], [0, 1], [2]):
            found = measure(map_, like, [(values, values)])[0][:4]
            assert found[1] == found[2] == 0
            assert found[0] == np.isin(like, values).sum()


@pytest.mark.parametrize("shape", [(4000, 1, 1), (1, 4000, 1), (300, 300, 1), (2, 5, 3000), (3000, 5, 2), (7, 900)])
def test_surface_measure_thin_arrays(shape: tuple[int, ...], backend: str) -> None:
    rng = np.random.default_rng(len(shape))
    truth, prediction = rng.random((2, *shape)) < 0.02
    spacing = (0.7, 1.0, 2.5)[: len(shape)]
    mine, theirs = (f(truth, prediction, ONE, spacing, "surfels")[0] for f in (measure, reference.surface_measure))
    assert mine[:4] == theirs[:4]
    for side in (4, 5):
        ours, right = (np.repeat(group[0], group[2]) for group in (mine[side], theirs[side]))
        assert ours == pytest.approx(right, rel=CLOSE)


def test_surface_measure_interrupt_returns_soon() -> None:
    rng = np.random.default_rng(0)
    truth, prediction = np.zeros((2, 300, 300, 300), bool)
    truth[:] = rng.random(truth.shape) < 0.5
    prediction[150, 150, ::10] = True  # far from nearly everything: seconds of work
    sent: list[float] = []

    def interrupt() -> None:
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.3, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        measure(truth, prediction, threads=2)
    assert time.perf_counter() - sent[0] < 0.5  # a block of the search here; 0.2 s where the machine is idle
    timer.join()
