"""Losses against float64 NumPy."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from covfast.train.losses import soft_cross_entropy, soft_dice, supervised  # noqa: E402


def sample(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(3, 2, 7, 5)), rng.random((3, 1, 7, 5))


def probability(logits: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(logits[:, 0] - logits[:, 1]))


@pytest.mark.parametrize("weight", [1.0, 2.5])
def test_cross_entropy_equals_the_reference(weight: float) -> None:
    logits, target = sample(0)
    p, t = probability(logits), target[:, 0]
    terms = -(weight * t * np.log(p) + (1 - t) * np.log(1 - p))
    expected = terms.sum() / (weight * t + 1 - t).sum()
    found = soft_cross_entropy(torch.from_numpy(logits), torch.from_numpy(target), weight)
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_dice_equals_the_reference() -> None:
    logits, target = sample(1)
    p, t = probability(logits), target[:, 0]
    expected = 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
    assert soft_dice(torch.from_numpy(logits), torch.from_numpy(target)).item() == pytest.approx(expected, rel=1e-12)


def test_dice_of_an_empty_slice_found_empty_is_near_zero() -> None:
    logits = torch.zeros(1, 2, 8, 8)
    logits[:, 0] = 30.0
    assert soft_dice(logits, torch.zeros(1, 1, 8, 8)).item() == pytest.approx(0.0, abs=1e-6)


def test_supervised_weighs_the_auxiliary_outputs() -> None:
    logits, target = (torch.from_numpy(a) for a in sample(2))
    single = supervised([logits], target)
    assert supervised([logits] * 4, target, auxiliary=0.4).item() == pytest.approx(single.item() * 2.2, rel=1e-12)
