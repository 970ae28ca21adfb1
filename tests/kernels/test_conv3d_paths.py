"""conv3d by its special kernels (pointwise, depthwise, dense) and its epilogue: reference, laws, edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernels.tolerances import SUM
from reference.conv3d import conv3d as reference
from reference.epilogue import apply

from covfast import ShapeError, ValueRangeError, ops
from covfast.planar_ops import Epilogue, conv3d_fused

pytestmark = pytest.mark.op("conv3d")


def normal(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def assert_close(got: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    assert got.shape == expected.shape
    largest = float(np.abs(expected).max(initial=1.0))
    np.testing.assert_allclose(got, expected, rtol=0, atol=SUM["float32"] * largest)


def window(kernel: int, stride: int = 1, dilation: int = 1) -> dict[str, Any]:
    """A square 2-D window that keeps the size at stride 1."""
    edge = dilation * (kernel // 2)
    return {"stride": (1, stride, stride), "padding": (0, edge, edge), "dilation": (1, dilation, dilation)}


# x, weight, options: one of each kernel, and sizes that fall to the general one
CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "pointwise": ((2, 24, 1, 9, 23), (30, 24, 1, 1, 1), {}),
    "pointwise grouped": ((1, 24, 2, 5, 33), (24, 6, 1, 1, 1), {"groups": 4}),
    "depthwise 3": ((2, 6, 1, 19, 37), (6, 1, 1, 3, 3), {**window(3), "groups": 6}),
    "depthwise 5 strided": ((1, 7, 1, 33, 70), (7, 1, 1, 5, 5), {**window(5, 2), "groups": 7}),
    "depthwise 3 dilated 8": ((1, 3, 1, 20, 40), (3, 1, 1, 3, 3), {**window(3, 1, 8), "groups": 3}),
    "depthwise 3-D": ((1, 4, 5, 10, 20), (4, 1, 3, 3, 3), {"padding": 1, "groups": 4}),
    "dense": ((1, 8, 1, 18, 40), (8, 8, 1, 3, 3), window(3)),
    "dense strided": ((2, 3, 1, 31, 65), (17, 3, 1, 3, 3), window(3, 2)),
    "dense 3-D grouped": ((1, 6, 5, 9, 17), (10, 3, 3, 3, 3), {"padding": 1, "stride": (2, 1, 2), "groups": 2}),
    "general": ((1, 300, 1, 6, 20), (3, 300, 1, 5, 5), window(5)),
}
EPILOGUES = {
    "bias": ("bias",),
    "leaky": ("bias", "leaky"),
    "before": ("before", "leaky"),
    "after": ("bias", "leaky", "after"),
    "total": ("leaky", "after", "other"),
    "sigmoid": ("bias", "sigmoid", "before", "after", "other"),
}


def epilogue_of(parts: tuple[str, ...], shape: tuple[int, ...]) -> Epilogue:
    channels = shape[1]
    tensors = {name: normal(*shape, seed=seed) for seed, name in enumerate(("before", "after", "other"), 3)}
    return Epilogue(
        bias=normal(channels, seed=6) if "bias" in parts else None,
        activation=next((kind for kind in ("leaky", "sigmoid") if kind in parts), "none"),
        slope=normal(channels, seed=7) if "leaky" in parts else None,
        **{name: tensor for name, tensor in tensors.items() if name in parts},
    )


@pytest.mark.parametrize("parts", EPILOGUES)
@pytest.mark.parametrize("case", CASES)
def test_conv3d_with_an_epilogue_equals_reference(backend: str, case: str, parts: str) -> None:
    x_shape, w_shape, options = CASES[case]
    x, w = normal(*x_shape), normal(*w_shape, seed=1)
    sums = reference(x, w, **options)
    epilogue = epilogue_of(EPILOGUES[parts], sums.shape)
    y, total = conv3d_fused(x, w, epilogue, **{name: triple(name, value) for name, value in options.items()})
    expected, expected_total = apply(sums, epilogue)
    assert_close(y, expected)
    assert (total is None) == (expected_total is None)
    if total is not None and expected_total is not None:
        assert_close(total, expected_total)


def triple(name: str, value: Any) -> Any:
    """One number for each axis of an option that has them."""
    return (value,) * 3 if isinstance(value, int) and name != "groups" else value


def test_conv3d_of_leaky_keeps_nan_and_follows_the_sign(backend: str) -> None:
    x = np.array([[[[np.nan, -2.0, 0.0, 3.0]]]], np.float32)
    y, _ = conv3d_fused(x, np.ones((1, 1, 1, 1)), Epilogue(activation="leaky", slope=[0.5]))
    np.testing.assert_array_equal(y[0, 0, 0], np.array([np.nan, -1, 0, 3], np.float32))


@pytest.mark.parametrize("case", CASES)
def test_conv3d_of_minus_infinity_becomes_zero_by_relu_alone(backend: str, case: str) -> None:
    x_shape, w_shape, options = CASES[case]
    x, w = normal(*x_shape), normal(*w_shape, seed=1)
    shape = reference(x, w, **options).shape
    before, slope = np.full(shape, -np.inf, np.float32), np.arange(shape[1], dtype=np.float32) % 3
    before[0, 0, 0, 0, 0] = np.nan
    epilogue = Epilogue(activation="leaky", slope=slope, before=before)
    y, _ = conv3d_fused(x, w, epilogue, **{name: triple(name, value) for name, value in options.items()})
    expected = np.broadcast_to(np.where(slope == 0, 0, -np.inf).reshape(-1, 1, 1, 1), shape).copy()
    expected[0, 0, 0, 0, 0] = np.nan
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("parts", ["bias", "total", "sigmoid"])
@pytest.mark.parametrize("outputs", [5, 11, 13, 19, 20, 25, 26, 27, 33])
def test_conv3d_pointwise_of_uneven_blocks_equals_reference(backend: str, outputs: int, parts: str) -> None:
    for inputs, size in [(1, (1, 1)), (3, (4, 12)), (16, (6, 8)), (33, (12, 16)), (7, (12, 20)), (2, (31, 65))]:
        x, w = normal(2, inputs, 1, *size), normal(outputs, inputs, 1, 1, 1, seed=1)
        sums = reference(x, w)
        epilogue = epilogue_of(EPILOGUES[parts], sums.shape)
        y, total = conv3d_fused(x, w, epilogue)
        expected, expected_total = apply(sums, epilogue)
        assert_close(y, expected)
        if total is not None and expected_total is not None:
            assert_close(total, expected_total)


@pytest.mark.parametrize("size", [*range(1, 35), 47, 48, 49, 63, 64, 65, 70])
@pytest.mark.parametrize("kernel", ["pointwise", "depthwise 3", "depthwise 5", "depthwise 5 strided", "dense", "3->5"])
def test_conv3d_of_every_width_equals_reference(backend: str, size: int, kernel: str) -> None:
    x_shape, w_shape, options = {
        "pointwise": ((1, 5, 1, 1, size), (9, 5, 1, 1, 1), {}),
        "depthwise 3": ((1, 2, 1, 9, size), (2, 1, 1, 3, 3), {**window(3), "groups": 2}),
        "depthwise 5": ((1, 2, 1, size, 71 - size), (2, 1, 1, 5, 5), {**window(5), "groups": 2}),
        "depthwise 5 strided": ((1, 2, 1, 70 - size + 1, size), (2, 1, 1, 5, 5), {**window(5, 2), "groups": 2}),
        "dense": ((1, 2, 1, 6, size), (3, 2, 1, 3, 3), window(3)),
        "3->5": ((1, 3, 1, size, 71 - size), (5, 3, 1, 3, 3), window(3, 2)),
    }[kernel]
    x, w = normal(*x_shape), normal(*w_shape, seed=1)
    assert_close(ops.conv3d(x, w, **options), reference(x, w, **options))


@pytest.mark.parametrize("inputs", [1, 2, 3, 6, 7, 8, 15, 16, 17, 24])
@pytest.mark.parametrize("outputs", [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 15, 16, 17, 24, 30])
def test_conv3d_of_odd_channels_equals_reference(backend: str, inputs: int, outputs: int) -> None:
    x, w = normal(1, inputs, 1, 7, 19), normal(outputs, inputs, 1, 3, 3, seed=1)
    assert_close(ops.conv3d(x, w, **window(3)), reference(x, w, **window(3)))
    centre = w[:, :, :, 1:2, 1:2]
    assert_close(ops.conv3d(x, centre), reference(x, centre))


@pytest.mark.parametrize("dilation", [2, 3, 4, 7, 8, 16, 40])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_conv3d_of_any_dilation_equals_reference(backend: str, dilation: int, stride: int) -> None:
    options: dict[str, Any] = {**window(3, stride, dilation), "groups": 3}
    x, w = normal(1, 3, 1, 21, 35), normal(3, 1, 1, 3, 3, seed=1)
    assert_close(ops.conv3d(x, w, **options), reference(x, w, **options))


@pytest.mark.parametrize("case", CASES)
def test_conv3d_nan_reaches_what_sees_it_and_nothing_else(backend: str, case: str) -> None:
    x_shape, w_shape, options = CASES[case]
    x, w = normal(*x_shape), normal(*w_shape, seed=1)
    x[0, 0, -1, 3, 5], x[-1, -1, 0, 0, -1] = np.nan, np.nan
    np.testing.assert_array_equal(np.isnan(ops.conv3d(x, w, **options)), np.isnan(reference(x, w, **options)))


@pytest.mark.parametrize("case", CASES)
def test_conv3d_paths_give_the_same_bits_on_any_number_of_threads(backend: str, case: str) -> None:
    x_shape, w_shape, options = CASES[case]
    x, w = normal(*x_shape[:2], *(2 * n for n in x_shape[2:])), normal(*w_shape, seed=1)
    one = ops.conv3d(x, w, threads=1, **options)
    np.testing.assert_array_equal(ops.conv3d(x, w, threads=3, **options), one)


@pytest.mark.parametrize(
    ("epilogue", "error", "match"),
    [
        (Epilogue(activation="leaky"), ValueRangeError, "kLeaky without a slope"),
        (Epilogue(activation="tanh"), ValueRangeError, "activation: got 'tanh', expected one of"),
        (Epilogue(before=np.zeros((1, 2, 4, 5))), ShapeError, "before, after, other: got another shape"),
        (Epilogue(slope=np.zeros(3)), ShapeError, "bias: got 3 numbers, expected 2"),
    ],
)
def test_conv3d_of_a_wrong_epilogue_raises(epilogue: Epilogue, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        conv3d_fused(np.zeros((1, 2, 4, 4)), np.zeros((2, 2, 1, 1)), epilogue)
