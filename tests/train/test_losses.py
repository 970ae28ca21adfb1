"""Losses against float64 NumPy, by gradcheck, and their laws."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from reference import losses as reference

torch = pytest.importorskip("torch")

from covfast.errors import ShapeError, ValueRangeError  # noqa: E402
from covfast.train import losses  # noqa: E402

EXACT = 1e-12
"""Relative: both sides are float64 sums of a few hundred terms."""


def sample(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(3, 2, 7, 5)), rng.random((3, 1, 7, 5))


def labelled(seed: int, classes: int = 3, size: tuple[int, ...] = (4, 5, 3)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, classes, *size)), rng.integers(0, classes, (2, *size))


def pictures(seed: int, side: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and masks with a disc and soft borders, (2, 1, side, side)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    mask = np.stack([np.clip(r - np.hypot(y - 18, x - 22), 0, 1)[None] for r in (9.3, 5.6)])
    return rng.normal(size=mask.shape), mask


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(array) for array in arrays]


@pytest.mark.parametrize("weight", [1.0, 2.5])
def test_cross_entropy_equals_the_reference(weight: float) -> None:
    logits, target = sample(0)
    expected = reference.soft_cross_entropy(logits, target, weight)
    found = losses.soft_cross_entropy(*tensors(logits, target), weight)
    assert found.item() == pytest.approx(expected, rel=EXACT)


def test_dice_equals_the_reference() -> None:
    logits, target = sample(1)
    expected = reference.soft_dice(logits, target)
    assert losses.soft_dice(*tensors(logits, target)).item() == pytest.approx(expected, rel=EXACT)


@pytest.mark.parametrize("weights", [(1.0, 0.4, 1.0), (2.0, 0.4, 0.3), (2.0, 0.0, 0.0)])
@pytest.mark.parametrize("outputs", [1, 4])
def test_supervised_equals_the_reference(outputs: int, weights: tuple[float, float, float]) -> None:
    _, target = sample(15)
    levels = [sample(seed)[0] for seed in range(16, 16 + outputs)]
    expected = reference.supervised(levels, target, *weights)
    found = losses.supervised(tensors(*levels), torch.from_numpy(target), *weights)
    assert found.item() == pytest.approx(expected, rel=EXACT)


@pytest.mark.parametrize("batch_dice", [False, True])
@pytest.mark.parametrize(("classes", "size"), [(2, (6, 5)), (4, (4, 5, 3))])
def test_dice_cross_entropy_equals_the_reference(batch_dice: bool, classes: int, size: tuple[int, ...]) -> None:
    logits, target = labelled(2, classes, size)
    expected = reference.dice_cross_entropy(logits, target, batch_dice)
    found = losses.dice_cross_entropy(*tensors(logits, target), batch_dice=batch_dice)
    assert found.item() == pytest.approx(expected, rel=EXACT)


def test_deep_supervision_equals_the_reference() -> None:
    _, target = labelled(3, 3, (8, 12, 4))
    rng = np.random.default_rng(3)
    outputs = [rng.normal(size=(2, 3, *size)) for size in ((8, 12, 4), (4, 6, 4), (2, 3, 2))]
    weights = (0.5, 0.3, 0.2)
    terms = [reference.dice_cross_entropy(o, reference.labels_at(target, o.shape[2:])) for o in outputs]
    expected = sum(w * term for w, term in zip(weights, terms, strict=True))
    found = losses.deep_supervision(tensors(*outputs), torch.from_numpy(target), weights=weights)
    assert found.item() == pytest.approx(expected, rel=EXACT)


@pytest.mark.parametrize("fidelity", ["code", "paper"])
def test_structure_loss_equals_the_reference(fidelity: str) -> None:
    logits, mask = pictures(4)
    expected = reference.structure_loss(logits, mask, fidelity)
    assert losses.structure_loss(*tensors(logits, mask), fidelity).item() == pytest.approx(expected, rel=EXACT)


@pytest.mark.parametrize("fidelity", ["code", "paper"])
def test_infnet_loss_equals_the_reference(fidelity: str) -> None:
    maps = [pictures(seed)[0] for seed in range(5)]
    _, mask = pictures(0)
    edge = (np.abs(mask - 0.5) < 0.4).astype(np.float64)
    expected = reference.bce(maps[4], edge).mean() + sum(
        reference.structure_loss(logits, mask, fidelity) for logits in maps[:4]
    )
    found = losses.infnet_loss(tensors(*maps), *tensors(mask, edge), fidelity)
    assert found.item() == pytest.approx(expected, rel=EXACT)


def test_one_hot_of_the_code_equals_its_flat_indexing() -> None:
    labels = np.random.default_rng(5).integers(0, 3, (2, 4, 5))
    labels[0, 0, 0] = 0  # wraps round to the image's end
    found = losses.one_hot_channels(torch.from_numpy(labels)).numpy()
    np.testing.assert_array_equal(found.transpose(0, 2, 3, 1), reference.one_hot_shifted(labels, 3))


@pytest.mark.parametrize("fidelity", ["code", "paper"])
def test_multiclass_bce_equals_the_reference(fidelity: str) -> None:
    logits, labels = labelled(6, 3, (4, 5))
    hot = np.eye(3)[labels - 1] if fidelity == "paper" else reference.one_hot_shifted(labels, 3)  # -1: the last
    expected = reference.bce(logits, hot.transpose(0, 3, 1, 2)).mean()
    assert losses.multiclass_bce(*tensors(logits, labels), fidelity).item() == pytest.approx(expected, rel=EXACT)


def test_weighted_cross_entropy_equals_the_reference() -> None:
    logits, target = labelled(7, 2, (6, 5))
    target[0, 1:3] = 255
    expected = reference.weighted_cross_entropy(logits, target, (1.4, 7.5))
    found = losses.weighted_cross_entropy(*tensors(logits, target), torch.tensor([1.4, 7.5], dtype=torch.float64))
    assert found.item() == pytest.approx(expected, rel=EXACT)


def test_miniseg_loss_equals_the_reference() -> None:
    outputs = [labelled(seed, 2, (6, 5))[0] for seed in range(4)]
    _, target = labelled(8, 2, (6, 5))
    target[1, 0] = 255
    weights = losses.class_weights([900, 100])
    terms = [reference.weighted_cross_entropy(o, target, weights.double().tolist()) for o in outputs]
    found = losses.miniseg_loss(tensors(*outputs), torch.from_numpy(target), weights)
    assert found.item() == pytest.approx(terms[0] + 0.4 * sum(terms[1:]), rel=EXACT)


LABELS = torch.from_numpy(labelled(9, 2, (4, 3))[1])
SOFT = LABELS[:, None].double() * 0.8
MASK = torch.from_numpy(pictures(9, 34)[1][:1, :, ::3, ::3].copy())
GRADIENTS: dict[str, tuple[tuple[int, ...], Callable[[torch.Tensor], torch.Tensor]]] = {
    "soft_cross_entropy": ((2, 2, 4, 3), lambda x: losses.soft_cross_entropy(x, SOFT, 2.0)),
    "soft_dice": ((2, 2, 4, 3), lambda x: losses.soft_dice(x, SOFT)),
    "supervised": ((2, 2, 4, 3), lambda x: losses.supervised([x], SOFT, 2.0)),
    "supervised_auxiliary": ((2, 2, 4, 3), lambda x: losses.supervised([x, 2 * x, x.flip(-1)], SOFT, 2.0, 0.4)),
    "dice_cross_entropy": ((2, 2, 4, 3), lambda x: losses.dice_cross_entropy(x, LABELS)),
    "batch_dice": ((2, 2, 4, 3), lambda x: losses.dice_cross_entropy(x, LABELS, batch_dice=True)),
    "deep_supervision": ((2, 2, 4, 3), lambda x: losses.deep_supervision([x, x[..., ::2, :1]], LABELS, weights=[2, 1])),
    "structure_code": ((1, 1, 12, 12), lambda x: losses.structure_loss(x, MASK, "code")),
    "structure_paper": ((1, 1, 12, 12), lambda x: losses.structure_loss(x, MASK, "paper")),
    "edge": ((1, 1, 12, 12), lambda x: losses.edge_loss(x, MASK)),
    "multiclass_code": ((2, 2, 4, 3), lambda x: losses.multiclass_bce(x, LABELS, "code")),
    "multiclass_paper": ((2, 2, 4, 3), lambda x: losses.multiclass_bce(x, LABELS, "paper")),
    "miniseg": ((2, 2, 4, 3), lambda x: losses.miniseg_loss([x, 2 * x], LABELS, torch.tensor([1.5, 6.0]))),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_are_those_of_differences(name: str) -> None:
    shape, loss = GRADIENTS[name]
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(loss, (x,))


def test_dice_of_an_empty_slice_found_empty_is_near_zero() -> None:
    logits = torch.zeros(1, 2, 8, 8)
    logits[:, 0] = 30.0
    assert losses.soft_dice(logits, torch.zeros(1, 1, 8, 8)).item() == pytest.approx(0.0, abs=1e-6)


def test_supervised_weighs_the_auxiliary_outputs() -> None:
    logits, target = tensors(*sample(2))
    single = losses.supervised([logits], target)
    found = losses.supervised([logits] * 4, target, auxiliary=0.4)
    dice_alone = losses.supervised([logits], target, cross_entropy=0.0)
    assert float(dice_alone) == pytest.approx(float(losses.soft_dice(logits, target)), rel=1e-6)
    assert found.item() == pytest.approx(single.item() * 2.2, rel=EXACT)


def test_dice_cross_entropy_of_the_truth_is_minus_one() -> None:
    _, target = labelled(10)
    logits = torch.nn.functional.one_hot(torch.from_numpy(target), 3).movedim(-1, 1) * 40.0
    assert losses.dice_cross_entropy(logits, torch.from_numpy(target)).item() == pytest.approx(-1.0, abs=1e-6)


def test_dice_cross_entropy_does_not_depend_on_the_order_of_foreground_classes() -> None:
    logits, target = labelled(11)
    swapped = losses.dice_cross_entropy(*tensors(logits[:, [0, 2, 1]], np.array([0, 2, 1])[target]))
    assert swapped.item() == pytest.approx(losses.dice_cross_entropy(*tensors(logits, target)).item(), rel=EXACT)


def test_level_weights_halve_end_in_zero_and_sum_to_one() -> None:
    assert losses.level_weights(1) == (1.0,)
    assert losses.level_weights(4) == pytest.approx((4 / 7, 2 / 7, 1 / 7, 0.0))
    assert sum(losses.level_weights(6)) == pytest.approx(1.0)


def test_deep_supervision_of_one_output_is_the_loss() -> None:
    logits, target = tensors(*labelled(12))
    assert torch.equal(losses.deep_supervision([logits], target), losses.dice_cross_entropy(logits, target))


def test_deep_supervision_leaves_the_last_level_out() -> None:
    logits, target = tensors(*labelled(12))
    last = logits[..., ::2, :2, :2].clone().requires_grad_()
    found = losses.deep_supervision([logits, last], target)
    assert torch.equal(found, losses.dice_cross_entropy(logits, target))


def test_structure_losses_differ_only_where_a_border_is() -> None:
    logits, mask = tensors(*pictures(13))
    code, paper = (losses.structure_loss(logits, mask, f).item() for f in ("code", "paper"))
    assert abs(code - paper) > 1e-3
    # A large mask of one value weighs the same everywhere that the window does not reach the edge of the image.
    weight = losses.border_weight(torch.ones(1, 1, 64, 64, dtype=torch.float64))
    assert torch.allclose(weight[..., 15:-15, 15:-15], torch.ones((), dtype=torch.float64))
    assert weight[0, 0, 0, 0].item() == pytest.approx(1 + 5 * (1 - 16 * 16 / 31**2))


def test_structure_loss_of_the_truth_is_near_zero() -> None:
    mask = torch.from_numpy((pictures(0)[1] > 0.5).astype(np.float64))
    assert losses.structure_loss((mask - 0.5) * 80, mask).item() == pytest.approx(0.0, abs=1e-9)


def test_one_hot_of_the_code_puts_ground_glass_first() -> None:
    labels = torch.tensor([[[1, 2, 0, 0]]])
    code = losses.one_hot_channels(labels)[0, :, 0].T.tolist()
    assert code == [[1, 0, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0]]
    paper = losses.one_hot_channels(labels, fidelity="paper")[0, :, 0].T.tolist()
    assert paper == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]


def test_class_weights_are_enets() -> None:
    expected = [1 / math.log(1.1 + 0.9), 1 / math.log(1.1 + 0.1)]
    assert losses.class_weights([90, 10]).tolist() == pytest.approx(expected, rel=1e-6)
    assert losses.class_weights(torch.tensor([0.9, 0.1])).tolist() == pytest.approx(expected, rel=1e-6)


def test_weighted_cross_entropy_with_nothing_judged_is_zero_with_zero_gradient() -> None:
    logits = torch.randn(1, 2, 3, 3, requires_grad=True)
    loss = losses.weighted_cross_entropy(logits, torch.full((1, 3, 3), 255), torch.tensor([1.0, 2.0]))
    loss.backward()
    assert loss.item() == 0.0
    assert not logits.grad.any()


def test_ignored_pixels_change_nothing() -> None:
    logits, target = tensors(*labelled(14, 2, (6, 5)))
    target[0, 2] = 255
    before = losses.miniseg_loss([logits, logits], target, torch.tensor([1.0, 3.0]))
    logits[0, :, 2] += 5.0
    assert torch.equal(losses.miniseg_loss([logits, logits], target, torch.tensor([1.0, 3.0])), before)


def test_half_precision_is_summed_in_single() -> None:
    logits = torch.full((1, 2, 300, 300), 1.0, dtype=torch.float16)
    target = torch.ones(1, 300, 300, dtype=torch.uint8)  # 90,000 does not fit into float16
    assert losses.dice_cross_entropy(logits, target).item() == pytest.approx(math.log(2) - 2 / 3, rel=1e-3)
    mask = torch.ones(1, 1, 300, 300)
    assert math.isfinite(losses.structure_loss(logits[:, :1], mask).item())


def test_arguments_that_do_not_fit_are_refused() -> None:
    x, y = torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)
    with pytest.raises(ShapeError, match="target: got shape"):
        losses.dice_cross_entropy(x, y[:, :3])
    with pytest.raises(ValueRangeError, match="at least 2"):
        losses.foreground_dice(x[:, :1], y)
    with pytest.raises(ShapeError, match="one weight per output"):
        losses.deep_supervision([x, x], y, weights=[1.0])
    with pytest.raises(ShapeError, match="one weight per output"):
        losses.deep_supervision([], y)
    with pytest.raises(ValueRangeError, match='"code" or "paper"'):
        losses.structure_loss(x, x, "book")
    with pytest.raises(ShapeError, match="mask"):
        losses.structure_loss(x, x[:, :1])
    with pytest.raises(ShapeError, match="map5"):
        losses.infnet_loss([x] * 4, x, x)
    with pytest.raises(ValueRangeError, match="labels: got values from 0 to 3"):
        losses.one_hot_channels(torch.tensor([[[0, 3]]]))
    with pytest.raises(ShapeError, match="one per class"):
        losses.weighted_cross_entropy(x, y, torch.ones(3))
    with pytest.raises(ValueRangeError, match="counts"):
        losses.class_weights([0, 0])
    with pytest.raises(ValueRangeError, match="levels"):
        losses.level_weights(0)
