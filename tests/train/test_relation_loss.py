"""Relation loss against float64 NumPy, by gradcheck, and its laws."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from reference import losses as reference

torch = pytest.importorskip("torch")

from covfast.errors import ShapeError, ValueRangeError  # noqa: E402
from covfast.train.losses import ramp_up, relation_loss, relation_matrix  # noqa: E402


def features(seed: int, batch: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 4, 2, 3, 2, dtype=torch.float64, generator=generator)


def test_relation_between_samples_equals_the_reference() -> None:
    general, target = features(0), features(1)
    expected = reference.relation_loss(general.reshape(3, -1).numpy(), target.reshape(3, -1).numpy())
    assert relation_loss(general, target).item() == pytest.approx(expected, rel=1e-12)


def test_relation_between_channels_equals_the_reference() -> None:
    general, target = features(2), features(3)
    pairs = zip(general.reshape(3, 4, -1).numpy(), target.reshape(3, 4, -1).numpy(), strict=True)
    expected = np.mean([reference.relation_loss(g, t) for g, t in pairs])
    assert relation_loss(general, target, "channels").item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("between", ["samples", "channels"])
def test_gradients_of_both_encoders_are_those_of_differences(between: str) -> None:
    inputs = (features(4).requires_grad_(), features(5).requires_grad_())
    assert torch.autograd.gradcheck(lambda g, t: relation_loss(g, t, between), inputs)


def test_relation_of_one_sample_is_zero() -> None:
    assert relation_loss(features(6, 1), features(7, 1)).item() == pytest.approx(0.0, abs=1e-24)


def test_relation_between_channels_of_one_sample_is_not_zero() -> None:
    assert relation_loss(features(6, 1), features(7, 1), "channels").item() > 0.01


@pytest.mark.parametrize("between", ["samples", "channels"])
def test_relation_of_equal_encoders_is_zero_and_of_others_is_not(between: str) -> None:
    assert relation_loss(features(8), features(8).clone(), between).item() == 0.0
    assert relation_loss(features(8), features(9), between).item() > 0.01


def test_relation_ignores_scale_and_rotation_of_one_encoder() -> None:
    general, target = features(10), features(11)
    flat = target.reshape(3, -1)
    turn = torch.linalg.qr(torch.randn(48, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    turned = (7.0 * flat @ turn).reshape(target.shape)
    expected = relation_loss(general, target).item()
    assert relation_loss(general, turned).item() == pytest.approx(expected, rel=1e-9)


def test_relation_is_symmetric_and_ignores_the_order_of_samples() -> None:
    general, target, order = features(12), features(13), torch.tensor([2, 0, 1])
    expected = relation_loss(general, target).item()
    assert relation_loss(target, general).item() == pytest.approx(expected, rel=1e-12)
    assert relation_loss(general[order], target[order]).item() == pytest.approx(expected, rel=1e-12)


def test_relation_of_levels_is_their_mean() -> None:
    pairs = [(features(k), features(k + 1)) for k in (14, 16)]
    single = [relation_loss(g, t).item() for g, t in pairs]
    levels = relation_loss([g for g, _ in pairs], [t for _, t in pairs]).item()
    assert levels == pytest.approx(sum(single) / 2, rel=1e-12)


def test_relation_of_dead_features_is_finite_with_finite_gradient() -> None:
    dead = torch.zeros(3, 4, 2, requires_grad=True)
    loss = relation_loss(dead, torch.randn(3, 4, 2))
    loss.backward()
    assert math.isfinite(loss.item())
    assert bool(torch.isfinite(dead.grad).all())


def test_relation_rows_have_length_one_and_half_precision_is_widened() -> None:
    large = (100 * features(18)).half()  # squares sum to more than float16 holds
    matrix = relation_matrix(large)
    assert matrix.dtype == torch.float32
    assert torch.allclose(matrix.norm(dim=2), torch.ones(1, 3))


def test_ramp_rises_from_exp_minus_five_to_its_weight() -> None:
    values = [ramp_up(t, 30, 2.0) for t in range(40)]
    assert values[0] == pytest.approx(2 * math.exp(-5))
    assert values[15] == pytest.approx(2 * math.exp(-5 / 4))
    assert values[30:] == [2.0] * 10
    assert all(a < b for a, b in pairwise(values[:31]))
    assert ramp_up(0, 0) == 1.0


def test_arguments_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="target"):
        relation_loss(features(0), features(0)[:, :2])
    with pytest.raises(ShapeError, match="levels"):
        relation_loss([features(0)], [])
    with pytest.raises(ShapeError, match="levels"):
        relation_loss([], [])
    with pytest.raises(ValueRangeError, match="between"):
        relation_loss(features(0), features(0), "voxels")
    with pytest.raises(ShapeError, match="features"):
        relation_matrix(torch.zeros(3))
    with pytest.raises(ValueRangeError, match="step"):
        ramp_up(-1, 30)
