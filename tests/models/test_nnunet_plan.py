"""nnU-Net's planning: published plans, laws over many data sets and budgets, the count of elements, refusals."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from covfast.errors import ShapeError, ValueRangeError
from covfast.models.nnunet_plan import Plan, nnunet_plan

GB = 1_000_000_000
PANCREAS = ((2.5, 0.8, 0.8), (93, 512, 512), 282)

# Spacing, median size, cases, axes -> patch, batch, halvings along each axis, flat kernels: nnU-Net's paper,
# supplement, plans of the Medical Segmentation Decathlon.
PUBLISHED: dict[str, tuple[Any, ...]] = {
    "hippocampus": ((1, 1, 1), (36, 50, 35), 260, 3, (40, 56, 40), 9, (3, 3, 3), 0),
    "hippocampus 2-D": ((1, 1, 1), (36, 50, 35), 260, 2, (56, 40), 366, (3, 3), 0),
    "prostate": ((3.6, 0.62, 0.62), (20, 320, 319), 32, 3, (20, 320, 256), 2, (2, 6, 6), 2),
    "prostate 2-D": ((3.6, 0.62, 0.62), (20, 320, 319), 32, 2, (320, 320), 32, (6, 6), 0),
    "brain tumour": ((1, 1, 1), (138, 170, 138), 484, 3, (128, 128, 128), 2, (5, 5, 5), 0),
    "lung": ((1.24, 0.785, 0.785), (252, 512, 512), 63, 3, (80, 192, 160), 2, (4, 5, 5), 0),
    "pancreas": (*PANCREAS, 3, (40, 224, 224), 2, (3, 5, 5), 1),
    "pancreas 2-D": (*PANCREAS, 2, (512, 512), 12, (7, 7), 0),
}


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_plan_is_the_published_one(name: str) -> None:
    spacing, size, cases, rank, patch, batch, halvings, flat = PUBLISHED[name]
    plan = nnunet_plan([spacing] * cases, [size] * cases, rank=rank)
    assert (plan.patch_size, plan.batch, plan.axes) == (patch, batch, (0, 1, 2)[3 - rank :])
    assert tuple(np.prod(plan.strides, axis=0)) == tuple(2**n for n in halvings)
    assert [min(kernel) for kernel in plan.kernels] == [1] * flat + [3] * (len(plan.kernels) - flat)


def test_anisotropic_plan_is_the_known_network() -> None:
    torch = pytest.importorskip("torch")
    plan = nnunet_plan(*([row] * 282 for row in PANCREAS[:2]))
    assert plan.features == (32, 64, 128, 256, 320, 320)
    assert plan.kernels == ((1, 3, 3), *[(3, 3, 3)] * 5)
    assert plan.strides == ((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2))
    with torch.device("meta"):
        module = plan.module(1, 2)
    assert sum(p.numel() for p in module.parameters()) == 30_703_498
    assert all(n % m == 0 for n, m in zip(plan.patch_size, module.multiple, strict=True))


def test_residual_plan_is_the_known_network() -> None:
    torch = pytest.importorskip("torch")
    plan = nnunet_plan([(1, 1, 1)] * 100, [(300, 300, 300)] * 100, residual=True)
    assert (plan.patch_size, len(plan.features)) == ((128, 128, 128), 6)
    with torch.device("meta"):
        module = plan.module(1, 2, deep_supervision=True)
    assert sum(p.numel() for p in module.parameters()) == 102_349_770
    assert type(module).__name__ == "ResidualEncoderUNet"
    assert module.deep_supervision
    assert module.topology == plan.topology


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("rank", [2, 3])
def test_memory_counts_the_outputs_of_the_convolutions(rank: int, residual: bool) -> None:
    torch = pytest.importorskip("torch")
    plan = nnunet_plan([(3, 1, 1)] * 9, [(24, 100, 90)] * 9, rank=rank, residual=residual, memory_budget_bytes=2 * GB)
    counted = []

    def count(module: Any, given: Any, output: Any) -> None:
        counted.append(output.numel())

    with torch.device("meta"):
        module = plan.module(1, 2).eval()
        skips = [part.skip for part in module.modules() if hasattr(part, "skip")]  # one map: pooled, convolved or both
        inside = {id(part) for skip in skips for part in skip.modules()}
        kinds = (torch.nn.Conv2d, torch.nn.Conv3d, torch.nn.ConvTranspose2d, torch.nn.ConvTranspose3d)
        convs = [part for part in module.modules() if isinstance(part, kinds) and id(part) not in inside]
        for part in (*convs, *(skip for skip in skips if len(skip))):
            part.register_forward_hook(count)
        module(torch.empty(1, 1, *plan.patch_size))
    per_8_gb = {(2, False): 85e6 * 12, (3, False): 560e6 * 2, (2, True): 135e6 * 12, (3, True): 680e6 * 2}
    assert plan.memory_bytes == math.ceil(sum(counted) * plan.batch / per_8_gb[rank, residual] * 8 * GB)


def plans(rank: int, residual: bool, seed: int) -> tuple[Any, Any, list[Plan]]:
    """A random data set, and its plans for growing budgets."""
    rng = np.random.default_rng(seed)
    thick = np.where(np.arange(3) == rng.integers(0, 6), 4.0, 1.0)  # one axis, in half of the data sets
    spacing = rng.uniform(0.5, 1.5, (7, 3)) * thick
    sizes = (rng.integers(60, 500, 3) / thick).astype(int) + rng.integers(0, 9, (7, 3))
    budgets = [0.5 * GB, GB, 3 * GB, 8 * GB, 24 * GB]
    made = [nnunet_plan(spacing, sizes, memory_budget_bytes=b, rank=rank, residual=residual) for b in budgets]
    return spacing, sizes, made


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("residual", [False, True])
def test_laws_over_data_sets_and_budgets(rank: int, residual: bool) -> None:
    grown = 0
    for seed in range(25):
        spacing, _, made = plans(rank, residual, seed)
        for plan in made:
            multiple = np.prod(plan.strides, axis=0)
            assert not any(np.asarray(plan.patch_size) % multiple)
            assert all(n < m + r for n, m, r in zip(plan.patch_size, plan.median_size, multiple, strict=True))
            assert all(n // r >= 4 for n, r in zip(plan.patch_size, multiple, strict=True) if r > 1)
            assert plan.batch >= 2
            assert max(plan.features) <= (320 if rank == 3 else 512)
            lo, hi = (bound(spacing, 0)[list(plan.axes)] for bound in (np.min, np.max))
            assert ((lo <= plan.spacing_mm) & (plan.spacing_mm <= hi + 1e-4)).all()
        patches = [plan.memory_bytes / plan.batch for plan in made]
        assert all(a <= b * (1 + 1e-8) for a, b in pairwise(patches))
        assert all(b.batch >= a.batch for a, b in pairwise(made) if a.patch_size == b.patch_size)
        grown += patches[0] < patches[-1]
    assert grown > 5  # the budget matters


def test_order_of_axes_does_not_matter() -> None:
    spacing, size = (2.5, 0.8, 0.7), (90, 400, 512)
    plan = nnunet_plan([spacing] * 30, [size] * 30)
    for order in ((1, 0, 2), (2, 1, 0), (1, 2, 0)):
        turned = nnunet_plan([[spacing[i] for i in order]] * 30, [[size[i] for i in order]] * 30)
        assert turned.patch_size == tuple(plan.patch_size[i] for i in order)
        assert turned.strides == tuple(tuple(row[i] for i in order) for row in plan.strides)
        flat = nnunet_plan([[spacing[i] for i in order]] * 30, [[size[i] for i in order]] * 30, rank=2)
        assert flat.axes == tuple(i for i in range(3) if order[i] != 0)


def test_target_spacing_is_the_median_and_finer_on_a_strongly_anisotropic_axis() -> None:
    thick = np.array([[5.0 + 0.1 * i, 0.7 + 0.01 * i, 0.8] for i in range(11)])
    sizes = np.array([[30, 512, 512]] * 11)
    assert nnunet_plan(thick, sizes).spacing_mm == pytest.approx((5.1, 0.75, 0.8))
    assert nnunet_plan(thick, sizes * [10, 1, 1]).spacing_mm == pytest.approx((5.5, 0.75, 0.8))  # many slices
    thin = thick * [0.2, 1, 1]
    assert nnunet_plan(thin, sizes).spacing_mm == pytest.approx((1.1, 0.75, 0.8))
    mixed = np.where(np.arange(11)[:, None] < 3, [[0.5, 0.7, 0.8]], [[5.0, 0.7, 0.8]])
    assert nnunet_plan(mixed, sizes).spacing_mm == pytest.approx((0.80001, 0.7, 0.8))  # not below the others


@pytest.mark.parametrize(
    ("spacings", "sizes", "error"),
    [
        ([], [], ShapeError),
        ([[1, 1]], [[9, 9]], ShapeError),
        ([[1, 1, 1]], [[64, 64, 64]] * 2, ShapeError),
        ([[1, 1, 0]], [[64, 64, 64]], ValueRangeError),
        ([[1, 1, math.nan]], [[64, 64, 64]], ValueRangeError),
        ([[1, 1, 1]], [[64, 64, -1]], ValueRangeError),
        ([[1, 1, 1]], [[6, 6, 6]], ValueRangeError),
    ],
)
def test_cases_that_cannot_be_raise(spacings: Any, sizes: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"spacings_mm|sizes"):
        nnunet_plan(spacings, sizes)


@pytest.mark.parametrize(
    "changes", [{"memory_budget_bytes": 1e5}, {"memory_budget_bytes": 0}, {"rank": 4}, {"classes": 0}]
)
def test_arguments_out_of_range_raise(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueRangeError, match=next(iter(changes))):
        nnunet_plan([[1, 1, 1]], [[64, 64, 64]], **changes)
