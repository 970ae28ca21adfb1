"""SlidingWindow: reference, laws, goldens of MONAI's and nnU-Net's windows, bad input."""

from __future__ import annotations

import contextlib
import io
import math
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference.sliding import mirrored, sliding_window, stitch_half

from covfast import Cancelled, DTypeError, MemoryLimitError, ShapeError, SlidingWindow, ValueRangeError, _core

Array = np.ndarray[Any, Any]


def volume(shape: tuple[int, ...] = (2, 11, 20, 23), seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def network(x: Array) -> Array:
    """Three channels that differ from window to window: a voxel's answer depends on where the window begins."""
    weight = np.cos(np.arange(math.prod(x.shape[2:]))).reshape(x.shape[2:]).astype(np.float32)
    return np.concatenate([x[:, :1] * weight, x[:, -1:] + weight, x.mean(1, keepdims=True) - weight], 1)


def weights_of(window: SlidingWindow) -> list[Array]:
    """Written anew, in float64."""
    centres = {"gaussian": lambda n: n // 2, "gaussian_centred": lambda n: (n - 1) / 2}
    if window.importance == "constant":
        return [np.ones(n) for n in window.window]
    at = centres[window.importance]
    return [np.exp(-0.5 * ((np.arange(n) - at(n)) / (n / 8)) ** 2) for n in window.window]


def expected(window: SlidingWindow, x: Array, flips: list[tuple[bool, ...]] | None = None) -> Array:
    starts, used = window.starts(x.shape[1:]), flips or [(False, False, False)]
    floor = 1e-3 if window.importance == "gaussian_centred" else 0.0
    return sliding_window(x, lambda w: network(w[None])[0], starts, weights_of(window), used, floor)


@pytest.mark.parametrize("importance", ["gaussian", "gaussian_centred", "constant"])
@pytest.mark.parametrize("placement", ["even", "fixed"])
@pytest.mark.parametrize("size", [(5, 8, 9), (4, 20, 7), (11, 20, 23), (1, 3, 16)])
def test_averages_equal_reference(size: tuple[int, int, int], placement: str, importance: str) -> None:
    window = SlidingWindow(size, placement=placement, importance=importance, step=(0.5, 0.3, 0.6))
    x = volume()
    np.testing.assert_allclose(window.averages(x, network), expected(window, x), rtol=0, atol=5e-6)


def test_labels_equal_reference_and_averages() -> None:
    window, x = SlidingWindow((5, 8, 9)), volume()
    labels = window(x, network)
    assert (labels.dtype, labels.shape) == (np.uint8, x.shape[1:])
    np.testing.assert_array_equal(labels, np.argmax(expected(window, x), axis=0))
    np.testing.assert_array_equal(window(x, network, values=[7, 0, 255]), np.array([7, 0, 255])[labels])


def test_regions_take_the_last_channel_above_zero() -> None:
    window, x = SlidingWindow((5, 8, 9)), volume()
    logits = expected(window, x)
    answer = np.zeros(x.shape[1:])
    for channel, value in zip(logits, (4, 2, 9), strict=True):
        answer[channel > 0] = value
    np.testing.assert_array_equal(window(x, network, values=[4, 2, 9], regions=True), answer)


@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_mirroring_equals_reference(axes: tuple[int, ...], batch: int) -> None:
    flips = [(a, b, c) for a in (False, True) for b in (False, True) for c in (False, True)]
    used = [f for f in flips if all(not f[axis] or axis in axes for axis in range(3))]
    window, x = SlidingWindow((5, 8, 9), mirror_axes=axes, batch=batch), volume()
    np.testing.assert_allclose(window.averages(x, network), expected(window, x, used), rtol=0, atol=5e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"placement": "fixed", "importance": "constant"},
        {"importance": "gaussian_centred", "mirror_axes": (1,)},
        {"mirror_axes": (0, 2)},
    ],
)
@pytest.mark.parametrize("shape", [(1, 11, 20, 23), (1, 3, 40, 9), (1, 1, 1, 1)])
def test_constant_stays_constant_at_every_border(shape: tuple[int, ...], settings: dict[str, Any]) -> None:
    def three(x: Array) -> Array:
        return np.full((len(x), 2, *x.shape[2:]), np.float32(0.3))

    y = SlidingWindow((4, 8, 9), **settings).averages(volume(shape), three)
    np.testing.assert_allclose(y, 0.3, rtol=2e-6)


def test_one_window_equals_the_network_itself() -> None:
    x = volume()
    for importance in ("constant", "gaussian", "gaussian_centred"):
        window = SlidingWindow(x.shape[1:], importance=importance)
        np.testing.assert_allclose(window.averages(x, network), network(x[None])[0], rtol=3e-7)
    plain = SlidingWindow(x.shape[1:], importance="constant")
    np.testing.assert_array_equal(plain.averages(x, network), network(x[None])[0])


def test_windows_of_any_size_give_what_a_voxelwise_network_gives() -> None:
    x = volume()
    for size in ((1, 1, 1), (2, 3, 4), (11, 2, 23), (30, 30, 30)):
        for step in (0.25, 1.0):
            y = SlidingWindow(size, step=step).averages(x, lambda w: w * 2)
            np.testing.assert_allclose(y, x * 2, rtol=4e-6)


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_turning_the_volume_turns_the_answer(axis: int) -> None:
    """Of a symmetric window: the order in which windows come does not matter."""
    window, x = SlidingWindow((4, 8, 10), importance="gaussian_centred"), volume((1, 10, 20, 20))

    def near(w: Array) -> Array:
        padded = np.pad(w, ((0, 0), (0, 0), (1, 1), (1, 1), (1, 1)))
        return w + padded[:, :, :-2, 1:-1, 1:-1] + padded[:, :, 2:, 1:-1, 1:-1]

    there = window.averages(x, near)
    back = np.flip(window.averages(np.ascontiguousarray(np.flip(x, axis)), near), axis)
    np.testing.assert_allclose(there, back, rtol=0, atol=3e-6)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    x = volume((2, 20, 70, 60))
    answers = [SlidingWindow((8, 32, 32), threads=n).averages(x, network) for n in (1, 2, 5)]
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])


@pytest.mark.parametrize("shape", [(1, 3, 40, 9), (2, 4, 7, 8), (1, 20, 3, 30)])
def test_volume_smaller_than_the_window_lies_in_its_middle(shape: tuple[int, ...]) -> None:
    window = SlidingWindow((5, 8, 9), fill=-2.0)
    x = volume(shape)
    below = [max(0, w - n) // 2 for w, n in zip(window.window, shape[1:], strict=True)]
    above = [max(0, w - n) - b for w, n, b in zip(window.window, shape[1:], below, strict=True)]
    padded = np.pad(x, [(0, 0), *zip(below, above, strict=True)], constant_values=-2.0)
    starts = window.starts(padded.shape[1:])
    whole = sliding_window(padded, lambda w: network(w[None])[0], starts, weights_of(window))
    part = whole[(slice(None), *(slice(b, b + n) for b, n in zip(below, shape[1:], strict=True)))]
    np.testing.assert_allclose(window.averages(x, network), part, rtol=0, atol=5e-6)


def test_image_of_two_axes_equals_a_volume_of_one_slice() -> None:
    x = volume((2, 30, 40))
    flat, deep = SlidingWindow((8, 9), mirror_axes=(1,)), SlidingWindow((1, 8, 9), mirror_axes=(2,))
    np.testing.assert_array_equal(flat.averages(x, network), deep.averages(x[:, None], network)[:, 0])
    assert flat(x, network).shape == (30, 40)
    assert flat.starts((30, 40)) == deep.starts((1, 30, 40))[1:]


def test_network_of_two_axes_takes_a_volume_slice_by_slice() -> None:
    x, window = volume((2, 4, 30, 40)), SlidingWindow((8, 9), batch=5)
    y = window.averages(x, network)
    for d in range(4):
        np.testing.assert_array_equal(y[:, d], window.averages(x[:, d], network))


@pytest.mark.parametrize("mirror_axes", [(), (0, 1, 2)])
def test_accumulate_nnunet_equals_its_half_precision_to_the_bit(mirror_axes: tuple[int, ...]) -> None:
    window = SlidingWindow((6, 8, 8), mirror_axes=mirror_axes, accumulate="nnunet")
    x = volume((2, 11, 20, 24))
    importance = _core.nnunet_importance((6, 8, 8)).view(np.float16)
    total, count = np.zeros((3, *x.shape[1:]), np.float16), np.zeros(x.shape[1:], np.float16)
    combinations = [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)] if mirror_axes else [()]
    flips = [tuple(axis in axes for axis in range(3)) for axes in combinations]
    starts = window.starts(x.shape[1:])
    for origin in [(a, b, c) for a in starts[0] for b in starts[1] for c in starts[2]]:
        part = x[(slice(None), *(slice(o, o + n) for o, n in zip(origin, (6, 8, 8), strict=True)))]
        seen = np.zeros((3, 6, 8, 8), np.float32)
        for flip in flips:
            seen += mirrored(network(np.ascontiguousarray(mirrored(part, flip))[None])[0], flip)
        stitch_half(total, count, seen / np.float32(len(flips)), origin, importance, (False, False, False))
    np.testing.assert_array_equal(window.averages(x, network), (total / count).astype(np.float32))


@pytest.mark.parametrize(
    ("size", "window", "starts"),
    [
        (110, 64, (0, 23, 46)),
        (301, 56, (0, 27, 54, 82, 109, 136, 163, 191, 218, 245)),
        (512, 160, (0, 70, 141, 211, 282, 352)),
        (130, 128, (0, 2)),
        (128, 128, (0,)),
        (100, 128, (-14,)),
        (101, 128, (-13,)),
    ],
)
def test_even_starts_are_those_of_nnunet(size: int, window: int, starts: tuple[int, ...]) -> None:
    """Goldens: `compute_steps_for_sliding_window` of nnunetv2 2.8.1; the padding is that of acvl_utils 0.2.6."""
    assert SlidingWindow((window, window)).starts((size, size)) == (starts, starts)


@pytest.mark.parametrize(
    ("size", "window", "overlap", "starts"),
    [
        (110, 64, 0.25, (0, 46)),
        (301, 56, 0.5, (0, 28, 56, 84, 112, 140, 168, 196, 224, 245)),
        (512, 160, 0.25, (0, 120, 240, 352)),
        (64, 64, 0.5, (0,)),
        (10, 4, 0.9, (0, 1, 2, 3, 4, 5, 6)),
    ],
)
def test_fixed_starts_are_those_of_monai(size: int, window: int, overlap: float, starts: tuple[int, ...]) -> None:
    """Goldens: `dense_patch_slices` of MONAI 1.6.1 with the interval of `sliding_window_inference`."""
    sliding = SlidingWindow((window, window), overlap=overlap, placement="fixed")
    assert sliding.starts((size, size)) == (starts, starts)


@pytest.mark.parametrize(
    ("window", "smallest", "total"),
    [
        ((1, 64, 64), 1.1324882507324219e-06, 4020.725321471691),
        ((32, 64, 64), 5.960464477539063e-08, 40310.92573392391),
        ((128, 128, 128), 5.960464477539063e-08, 644986.1604437828),
        ((56, 160, 192), 5.960464477539063e-08, 529086.9308890104),
    ],
)
def test_importance_in_half_precision_is_that_of_nnunet(
    window: tuple[int, int, int], smallest: float, total: float
) -> None:
    """Goldens: `compute_gaussian` of nnunetv2 2.8.1, value_scaling_factor 10."""
    importance = _core.nnunet_importance(window).view(np.float16)
    assert (importance.min(), importance.max()) == (smallest, 10)
    assert importance.astype(np.float64).sum() == pytest.approx(total, rel=1e-12)


def test_memory_does_not_grow_with_depth() -> None:
    window = SlidingWindow((16, 64, 64))
    needed = [window.workspace_bytes((depth, 128, 128), 4) for depth in (100, 300, 900)]
    assert needed == [16 * 4 * 128 * 128 * 4] * 3


def test_progress_and_cancel() -> None:
    seen: list[tuple[str, int, int]] = []
    SlidingWindow((5, 8, 9), batch=7)(volume(), network, progress=lambda *note: seen.append(note))
    assert {note[0] for note in seen} == {"windows"}
    assert (seen[0][1], seen[-1][1]) == (0, seen[-1][2])
    stop = threading.Event()

    def stopping(x: Array) -> Array:
        stop.set()
        return network(x)

    with pytest.raises(Cancelled, match="cancel: got a request to stop in stage 'windows'"):
        SlidingWindow((5, 8, 9))(volume(), stopping, cancel=stop)


def test_volume_is_never_changed_and_need_not_be_contiguous() -> None:
    x = np.asfortranarray(volume())
    before = x.copy()
    window = SlidingWindow((5, 8, 9), mirror_axes=(0,))
    np.testing.assert_array_equal(window(x, network), window(before, network))
    np.testing.assert_array_equal(x, before)
    whole = (before * 100).astype(np.int16)
    np.testing.assert_array_equal(window(whole, network), window(whole.astype(np.float32), network))


def test_tensors_of_torch_in_and_out() -> None:
    torch = pytest.importorskip("torch")
    x, window = volume(), SlidingWindow((5, 8, 9), mirror_axes=(1,), batch=2)
    answer = window.averages(x, lambda w: w.repeat(2, 1) * 3)
    kinds = set()

    def doubled(w: Any) -> Any:
        kinds.add(type(w))
        return w.repeat_interleave(2, 1) * 3

    np.testing.assert_array_equal(window.averages(torch.from_numpy(x), doubled), answer)
    assert kinds == {torch.Tensor}
    grown = torch.nn.Conv3d(2, 3, 1)
    assert window(torch.from_numpy(x), grown).shape == x.shape[1:]  # its output wants a gradient
    expanded = window.averages(torch.from_numpy(x[:1]), lambda w: w.expand(-1, 4, -1, -1, -1))
    assert expanded.shape == (4, *x.shape[1:])
    np.testing.assert_array_equal(expanded[0], expanded[3])
    low = window.averages(torch.from_numpy(x), lambda w: w.to(torch.bfloat16))
    np.testing.assert_allclose(low, x, atol=0.02)


def test_network_that_writes_to_tensors_leaves_the_volume_as_it_is() -> None:
    torch = pytest.importorskip("torch")
    x, window = volume(), SlidingWindow((5, 8, 9))
    tensor = torch.from_numpy(x.copy())
    np.testing.assert_allclose(window.averages(tensor, lambda w: w.add_(1)), x + 1, rtol=0, atol=5e-6)
    np.testing.assert_array_equal(tensor, x)


def test_module_of_torch_takes_numpy_volumes() -> None:
    torch = pytest.importorskip("torch")
    x, module = volume(), torch.nn.Sequential(torch.nn.ReLU(inplace=True), torch.nn.Conv3d(2, 3, 3, padding=1))
    before, window = x.copy(), SlidingWindow((5, 8, 9), mirror_axes=(1,))
    answer = window.averages(x, module)
    assert type(answer) is np.ndarray
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(answer, window.averages(torch.from_numpy(x), module))
    relu = window.averages(x, torch.nn.ReLU())  # without weights
    np.testing.assert_allclose(relu, np.maximum(x, 0), rtol=4e-6)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"window": (4,)}, ShapeError, "window: got"),
        ({"window": (0, 4, 4)}, ShapeError, "window: got"),
        ({"step": 0.0}, ValueRangeError, "step: got"),
        ({"step": 1.5}, ValueRangeError, "step: got"),
        ({"step": float("nan")}, ValueRangeError, "step: got"),
        ({"step": (0.5, 0.5)}, ShapeError, "step: got"),
        ({"overlap": 1.0}, ValueRangeError, "overlap: got"),
        ({"placement": "random"}, ValueRangeError, "placement: got 'random', expected one of"),
        ({"importance": "cosine"}, ValueRangeError, "importance: got"),
        ({"accumulate": "float16"}, ValueRangeError, "accumulate: got"),
        ({"accumulate": "nnunet", "importance": "constant"}, ValueRangeError, "importance: got"),
        ({"mirror_axes": (3,)}, ValueRangeError, "mirror_axes: got"),
        ({"mirror_axes": (1, 1)}, ValueRangeError, "mirror_axes: got"),
        ({"batch": 0}, ValueRangeError, "batch: got 0"),
        ({"batch": 1.5}, DTypeError, "batch: got 1.5, expected a whole number"),
        ({"threads": "all"}, DTypeError, "threads: got 'all', expected"),
        ({"fill": math.nan}, ValueRangeError, "fill: got nan, expected a finite number"),
        ({"fill": -math.inf}, ValueRangeError, "fill: got -inf"),
        ({"fill": 1e39}, ValueRangeError, "fill: got 1e"),
        ({"fill": "a"}, DTypeError, "fill: got 'a', expected a number"),
        ({"step": "a"}, DTypeError, "step: got 'a', expected a number"),
        ({"step": "0.5"}, DTypeError, "step: got '0.5', expected a number"),
        ({"step": 0.5, "overlap": 0.5}, ValueRangeError, "overlap: got 0.5 beside a step, expected one of the two"),
        ({"window": 8}, DTypeError, "window: got 8, expected 2 or 3 sizes"),
        ({"window": "abc"}, DTypeError, "window: got 'abc', expected"),
        ({"window": b"abc"}, DTypeError, "window: got b'abc', expected"),
        ({"window": (8.5, 24, 24)}, DTypeError, r"window: got \(8.5, 24, 24\), expected .* whole numbers"),
        ({"window": (10**9,) * 3}, ShapeError, r"window: got \(1000000000, .* expected 2 or 3 sizes from 1 to 1048576"),
        ({"mirror_axes": 1}, DTypeError, "mirror_axes: got 1, expected"),
        ({"mirror_axes": "012"}, DTypeError, "mirror_axes: got '012', expected"),
    ],
)
def test_wrong_settings_raise(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SlidingWindow(**{"window": (4, 4, 4), **settings})


@pytest.mark.parametrize("x", [np.zeros((4, 4, 4)), np.zeros((1, 1, 4, 4, 4)), np.zeros((1, 0, 4, 4)), np.zeros(3)])
def test_wrong_volumes_raise(x: Array) -> None:
    with pytest.raises(ShapeError, match=r"x: got shape .* expected \(C, D, H, W\)"):
        SlidingWindow((4, 4, 4))(x, network)


def test_volumes_of_no_numbers_raise() -> None:
    with pytest.raises(DTypeError, match="x: got"):
        SlidingWindow((4, 4, 4))(np.full((1, 4, 4, 4), "a"), network)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: x[:, :, 1:],
        lambda x: x[0],
        lambda x: np.concatenate([x, x]),
        lambda x: x[:, :0],
        lambda x: np.zeros(3),
    ],
)
def test_network_of_another_shape_raises(wrong: Any) -> None:
    with pytest.raises(ShapeError, match="network: got outputs of shape"):
        SlidingWindow((5, 8, 9))(volume(), wrong)


def test_network_that_changes_its_mind_raises() -> None:
    calls: list[int] = []

    def moody(x: Array) -> Array:
        calls.append(1)
        return x[:, : 1 + len(calls) % 2]

    with pytest.raises(ShapeError, match="network: got outputs of shape"):
        SlidingWindow((5, 8, 9))(volume(), moody)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_network_of_nan_or_infinity_raises(bad: float) -> None:
    def broken(x: Array) -> Array:
        y = network(x)
        y[0, 1, -1, 2, 3] = bad
        return y

    for call in (SlidingWindow((5, 8, 9)), SlidingWindow((5, 8, 9)).averages):
        with pytest.raises(ValueRangeError, match="network: got NaN or infinity in plane"):
            call(volume(), broken)


def test_network_that_gives_no_array_raises() -> None:
    for given, got in (("none", "a str"), (None, "None"), ({"out": 1}, "a dict")):
        with pytest.raises(DTypeError, match=f"network: got {got}, expected"):
            SlidingWindow((5, 8, 9))(volume(), lambda x, given=given: given)
    with pytest.raises(ZeroDivisionError):  # its own errors come through
        SlidingWindow((5, 8, 9))(volume(), lambda x: 1 / 0)


def test_wrong_values_raise() -> None:
    with pytest.raises(ShapeError, match="values: got 2 labels, expected 3"):
        SlidingWindow((5, 8, 9))(volume(), network, values=[1, 2])
    with pytest.raises(ValueRangeError, match="values: got"):
        SlidingWindow((5, 8, 9))(volume(), network, values=[1, 2, 256])
    with pytest.raises(DTypeError, match="values: got"):
        SlidingWindow((5, 8, 9))(volume(), network, values=[1, 2, 2.5])
    with pytest.raises(ValueRangeError) as error:
        SlidingWindow((5, 8, 9))(volume(), network, values=range(300))
    assert len(str(error.value)) < 100
    with pytest.raises(ValueRangeError, match="values: got None for 300 channels, expected at most 256"):
        SlidingWindow((5, 8, 9))(volume(), lambda x: np.repeat(x[:, :1], 300, axis=1))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"network": 3}, "network: got 3, expected a function"),
        ({"network": "unet"}, "network: got 'unet', expected a function"),
        ({"progress": 3}, "progress: got 3, expected a function"),
        ({"cancel": True}, "cancel: got True, expected an object with is_set"),
    ],
)
def test_what_cannot_be_called_raises(wrong: dict[str, Any], message: str) -> None:
    for call in (SlidingWindow((5, 8, 9)), SlidingWindow((5, 8, 9)).averages):
        with pytest.raises(DTypeError, match=message):
            call(volume(), **{"network": network, **wrong})


def test_steps_of_numpy_are_numbers() -> None:
    for step in (np.float32(0.25), np.array(0.25), np.array([0.25, 0.25, 0.25]), [0.25] * 3):
        assert SlidingWindow((4, 8, 8), step=step).step == (0.25, 0.25, 0.25)
    assert SlidingWindow((4, 8, 8)).step == SlidingWindow((4, 8, 8), overlap=0.5).step == (0.5, 0.5, 0.5)


def test_wrong_sizes_raise() -> None:
    window = SlidingWindow((5, 8, 9))
    with pytest.raises(ShapeError, match="size: got"):
        window.starts((8, 9))
    with pytest.raises(DTypeError, match="size: got"):
        window.starts((8.5, 8, 9))
    with pytest.raises(ShapeError, match="size: got"):
        window.workspace_bytes((8, 9), 1)
    with pytest.raises(ValueRangeError, match="channels: got 0"):
        window.workspace_bytes((8, 8, 9), channels=0)


def test_window_beyond_memory_raises() -> None:
    with pytest.raises(MemoryLimitError, match="memory: got no memory for windows of shape"):
        SlidingWindow((100000, 100000, 100000))(volume(), network)


@pytest.mark.parametrize("settings", [{}, {"batch": 4}, {"mirror_axes": (0,)}])
def test_network_cannot_write_to_arrays(settings: dict[str, Any]) -> None:
    x = volume()
    before = x.copy()

    def writing(w: Array) -> Array:
        w += 1
        return w

    for window in (SlidingWindow((5, 8, 9), **settings), SlidingWindow((30, 30, 30), **settings)):
        with pytest.raises(ValueError, match="read-only"):
            window(x, writing)
    assert x.flags.writeable
    np.testing.assert_array_equal(x, before)


def test_example_of_the_docs_prints_what_they_say() -> None:
    docs = Path(__file__).parents[1] / "docs" / "sliding-window.md"
    found = re.search(r"```python\n(.*?)```\n```\n(.*?)```", docs.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(found[1], str(docs), "exec"), {})
    assert printed.getvalue() == found[2]
