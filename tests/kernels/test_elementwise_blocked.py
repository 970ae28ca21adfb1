"""activation_blocked and binary_blocked: reference, laws, edges, errors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from kernels.tolerances import EXP
from reference.blocked import BF16, rounded

from covfast import ShapeError, ValueRangeError, blocked_layers

CHANNELS = [1, 2, 3, 6, 7, 8, 15, 16, 17, 24]
ELEMENTS = ["f32", "bf16"]


def normal(*shape: int, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def reference(
    x: npt.NDArray[np.float32], kind: str, a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    x, a, b = (v.astype(np.float64).reshape(1, -1, 1, 1, 1) if v.ndim == 1 else v.astype(np.float64) for v in (x, a, b))
    if kind == "affine":
        return a * x + b
    if kind == "sigmoid":
        return 1 / (1 + np.exp(-x))
    return np.where(x > 0, x, 0 * x if kind == "relu" else a * x)


@pytest.mark.op("activation_blocked")
@pytest.mark.parametrize("element", ELEMENTS)
@pytest.mark.parametrize("kind", ["affine", "leaky", "relu", "sigmoid"])
@pytest.mark.parametrize("channels", CHANNELS)
def test_activation_blocked_equals_reference(backend: str, channels: int, kind: str, element: str) -> None:
    a, b = normal(channels, seed=1), normal(channels, seed=2)
    for size in ((1, 1, 1), (1, 3, 70), (2, 31, 17)):
        x = rounded(normal(1, channels, *size) * 3, element)
        got = blocked_layers.activation_blocked(x, kind, a, b, elements=(element, element))
        rtol = BF16 * 1.01 if element == "bf16" else 3e-7
        # A sigmoid is taken times the `a` of each lane; of one channel `a` is a plain number, which it does not read.
        times = a[:, None, None, None] if kind == "sigmoid" and channels > 1 else 1
        np.testing.assert_allclose(got, reference(x, kind, a, b) * times, rtol=rtol, atol=EXP["float32"])


@pytest.mark.op("activation_blocked")
def test_activation_blocked_one_number_for_every_channel(backend: str) -> None:
    x = normal(1, 5, 4, 7)
    np.testing.assert_array_equal(blocked_layers.activation_blocked(x, "leaky", 0.25), np.where(x > 0, x, x / 4))
    np.testing.assert_allclose(
        blocked_layers.activation_blocked(x, "affine", 2.0, 1.0), 2 * x + 1, rtol=1e-6, atol=1e-7
    )


@pytest.mark.op("activation_blocked")
@pytest.mark.parametrize("from_element", ["f32", "bf16", "u8"])
@pytest.mark.parametrize("to_element", ["f32", "bf16", "u8"])
def test_activation_blocked_affine_of_1_and_0_converts(backend: str, from_element: str, to_element: str) -> None:
    x = rounded(normal(1, 19, 1, 9, 13), from_element, 0.03)
    elements, scales = (from_element, to_element), (0.03, 0.021)
    got = blocked_layers.activation_blocked(x, "affine", 1.0, 0.0, elements=elements, scales=scales)
    if to_element == "u8":
        np.testing.assert_allclose(got, np.clip(x, -128 * 0.021, 127 * 0.021), rtol=0, atol=0.5001 * 0.021)
    elif from_element == "u8":
        np.testing.assert_allclose(got, x, rtol=2 * BF16, atol=1e-7)
    else:
        np.testing.assert_array_equal(got, rounded(x, to_element))


@pytest.mark.op("activation_blocked")
def test_activation_blocked_nan_and_infinite_values(backend: str) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0] * 5, np.float32).reshape(1, 1, 1, 1, 20)
    for element in ELEMENTS:
        both = (element, element)
        relu = blocked_layers.activation_blocked(x, "relu", elements=both)[..., :4].ravel()
        np.testing.assert_array_equal(relu, [np.nan, np.inf, 0, 0])
        sigmoid = blocked_layers.activation_blocked(x, "sigmoid", elements=both)[..., :4].ravel()
        np.testing.assert_array_equal(sigmoid, [np.nan, 1, 0, 0.5])
        leaky = blocked_layers.activation_blocked(x, "leaky", 0.5, elements=both)[..., :4].ravel()
        np.testing.assert_array_equal(leaky, [np.nan, np.inf, -np.inf, 0])


@pytest.mark.op("binary_blocked")
@pytest.mark.parametrize("element", ELEMENTS)
@pytest.mark.parametrize("kind", ["add", "sub", "mul"])
@pytest.mark.parametrize("channels", CHANNELS)
def test_binary_blocked_equals_numpy(backend: str, channels: int, kind: str, element: str) -> None:
    formula = {"add": np.add, "sub": np.subtract, "mul": np.multiply}[kind]
    for ours, theirs in ((channels, channels), (1, channels), (channels, 1)):
        for size in ((1, 1, 1), (1, 5, 70), (3, 19, 23)):
            a = rounded(normal(1, ours, *size, seed=1), element)
            b = rounded(normal(1, theirs, *size, seed=2), element)
            got = blocked_layers.binary_blocked(a, b, kind, element=element)
            np.testing.assert_array_equal(got, rounded(formula(a, b), element))


@pytest.mark.op("binary_blocked")
@pytest.mark.parametrize("threads", [2, 3, 7])
def test_binary_blocked_any_number_of_threads_same_bits(backend: str, threads: int) -> None:
    a, b = normal(1, 33, 70, 57), normal(1, 33, 70, 57, seed=1)
    many = blocked_layers.binary_blocked(a, b, "mul", threads=threads)
    np.testing.assert_array_equal(many, blocked_layers.binary_blocked(a, b, "mul", threads=1))


def test_elementwise_blocked_wrong_arguments_raise() -> None:
    x = normal(1, 3, 4, 5)
    with pytest.raises(ShapeError, match="a, b: got 2 and 1 numbers, expected 1 or 3"):
        blocked_layers.activation_blocked(x, "leaky", np.ones(2))
    with pytest.raises(ValueRangeError, match="kind: got 'tanh'"):
        blocked_layers.activation_blocked(x, "tanh")
    with pytest.raises(ValueRangeError, match="x_scale, y_scale: got 1 and 0"):
        blocked_layers.activation_blocked(x, "relu", elements=("f32", "u8"), scales=(1.0, 0.0))
    with pytest.raises(ShapeError, match="b: got another size than a"):
        blocked_layers.binary_blocked(x, normal(1, 3, 4, 6), "add")
    with pytest.raises(ShapeError, match="a, b: got 3 and 2 channels"):
        blocked_layers.binary_blocked(x, normal(1, 2, 4, 5), "add")
    with pytest.raises(ValueRangeError, match="element: got u8"):
        blocked_layers.binary_blocked(x, x, "add", element="u8")
