"""nnU-Net's planning: from spacings, sizes and a memory budget to patch, network and batch. Written from its rules.

Isensee et al., nnU-Net (Nature Methods 18, 2021, doi 10.1038/s41592-020-01008-z), its second version's choices where
they differ, and nnU-Net Revisited (MICCAI 2024, arXiv 2404.09556) for the residual encoder's preset M:

1. Spacing: the median of the cases, axis by axis. Where one axis has more than 3 times the spacing of the others and
   less than a third of their voxels: the 10th percentile on it, not below the others.
2. Patch: a cube in mm of 256^3 voxels (a square of 2048^2), no axis longer than the median case.
3. Network: each stage halves every axis of at least 8 voxels whose spacing is below twice the least of these axes;
   a lone axis only from 12 on. Kernels are 1 along an axis until its spacing is below twice the least of all, then 3.
   The patch is rounded up to what the strides divide.
4. While the network is too large for the budget, the axis that is longest, measured by the median case, is shortened.
5. Batch: what the budget allows, at least 2, not more than 5 % of the voxels of all cases (all, for residual encoders).

Axes keep their order; nnU-Net puts the one of the largest spacing first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from covfast.errors import ShapeError, ValueRangeError, describe
from covfast.models.topology import Topology

if TYPE_CHECKING:
    from covfast.models.unet import PlainUNet, ResidualEncoderUNet

_ANISOTROPY = 3.0
_EDGE = 4  # voxels that a feature map keeps along a halved axis
_BASE = 32
_MOST = {2: 512, 3: 320}  # features
_VOXELS = {2: 2048**2, 3: 256**3}  # of the first patch
_BATCH = {2: 12, 3: 2}  # that the reference values are for
_LEAST_BATCH = 2
_ELEMENTS = {(2, False): 85_000_000, (3, False): 560_000_000, (2, True): 135_000_000, (3, True): 680_000_000}
"""(axes, residual encoder) -> elements of all feature maps of one sample that fill nnU-Net's 8 GB at `_BATCH`."""
_REFERENCE_BYTES = 8_000_000_000
_COVERED = {False: 0.05, True: 1.0}  # share of all voxels that a batch may hold
_BLOCKS = [1, 3, 4]  # residual blocks of the first stages; then 6


@dataclass(frozen=True)
class Plan:
    """What to train.

    Attributes:
        patch_size: voxels of a patch, a multiple of the strides' product.
        spacing_mm: that cases are resampled to.
        median_size: voxels of the median case at this spacing.
        features, kernels, strides: of each stage of the network.
        batch: patches in a step.
        axes: of the volume that patch, spacing and size are along; two for a network of slices.
        residual: whether the encoder is of residual blocks.
        memory_bytes: estimate for the network and the batch, by nnU-Net's reference.
    """

    patch_size: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    median_size: tuple[int, ...]
    features: tuple[int, ...]
    kernels: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]
    batch: int
    axes: tuple[int, ...]
    residual: bool
    memory_bytes: int

    @property
    def topology(self) -> Topology:
        """Of the network: 2 convolutions in a stage, or residual blocks (1, 3, 4, 6, ...) and 1 on the way up."""
        stages = len(self.features)
        if not self.residual:
            return Topology(self.features, self.kernels, self.strides)
        blocks = [*_BLOCKS, *[6] * stages][:stages]
        return Topology(self.features, self.kernels, self.strides, blocks, 1)

    def module(self, in_channels: int, classes: int, deep_supervision: bool = False) -> PlainUNet | ResidualEncoderUNet:
        """The network with new weights.

        Args:
            in_channels: of the image.
            classes: channels of the logits, background among them.
            deep_supervision: whether training gives the logits of every level.

        Raises:
            BackendUnavailable: torch is not installed.
        """
        from covfast.models import PlainUNet, ResidualEncoderUNet

        if not self.residual:
            return PlainUNet.of(in_channels, classes, self.topology, deep_supervision)
        t = self.topology
        return ResidualEncoderUNet(
            in_channels, classes, t.features, t.kernels, t.strides, deep_supervision=deep_supervision
        )


def nnunet_plan(
    spacings_mm: npt.ArrayLike,
    sizes: npt.ArrayLike,
    *,
    memory_budget_bytes: float = _REFERENCE_BYTES,
    rank: int = 3,
    classes: int = 2,
    residual: bool = False,
) -> Plan:
    """Patch, network and batch for the cases of a data set.

    Args:
        spacings_mm: (cases, 3) float > 0, along D, H, W.
        sizes: (cases, 3) int > 0, voxels of each case, cropped to what is not 0.
        memory_budget_bytes: of the device; nnU-Net's reference is 8 GB.
        rank: 3, or 2 for slices across the axis of the largest spacing.
        classes: of the logits, background among them.
        residual: plan a `ResidualEncoderUNet` instead of a `PlainUNet`.

    Raises:
        ShapeError: spacings and sizes are not (cases, 3), or of different shapes.
        ValueRangeError: a spacing or size that is not positive and finite, a rank other than 2 and 3, no classes, cases
            too small to halve once, a budget too small for any network.
    """
    spacings, voxels = _checked(spacings_mm, sizes)
    _check_numbers(rank, classes, memory_budget_bytes)
    target = _target_spacing(spacings, voxels)
    resampled = np.rint(spacings / target * voxels)
    slices = int(np.argmax(target))
    axes = tuple(axis for axis in range(3) if rank == 3 or axis != slices)
    total = float(np.median(resampled, axis=0).prod()) * len(resampled)
    spacing = target[list(axes)].tolist()
    median = [max(1, int(n)) for n in np.median(resampled[:, list(axes)], axis=0)]
    budget = _ELEMENTS[rank, residual] * memory_budget_bytes / _REFERENCE_BYTES
    net = _fitted(spacing, median, budget, classes, residual)
    fits = round(budget / net.elements * _BATCH[rank])
    covered = round(total * _COVERED[residual] / math.prod(net.patch))
    batch = max(_LEAST_BATCH, min(fits, covered))
    memory = net.elements * batch / _BATCH[rank] / _ELEMENTS[rank, residual] * _REFERENCE_BYTES
    lists = (tuple(net.features), tuple(net.kernels), tuple(net.strides))
    return Plan(net.patch, tuple(spacing), tuple(median), *lists, batch, axes, residual, math.ceil(memory))


def _checked(
    spacings_mm: npt.ArrayLike, sizes: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Both as float64. Raises: ShapeError, ValueRangeError, as of `nnunet_plan`."""
    spacings, voxels = np.asarray(spacings_mm, np.float64), np.asarray(sizes, np.float64)
    if spacings.ndim != 2 or spacings.shape[1] != 3 or not len(spacings) or spacings.shape != voxels.shape:
        got = f"shapes {spacings.shape} and {voxels.shape}"
        raise ShapeError(describe("spacings_mm, sizes", got, "(cases, 3) both, at least one case"))
    for name, array in (("spacings_mm", spacings), ("sizes", voxels)):
        if not (np.isfinite(array) & (array > 0)).all():
            raise ValueRangeError(describe(name, array.min(), "positive finite numbers"))
    return spacings, voxels


def _check_numbers(rank: int, classes: int, memory_budget_bytes: float) -> None:
    """Raises: ValueRangeError, as of `nnunet_plan`."""
    if rank not in (2, 3) or classes < 1 or not 0 < memory_budget_bytes < math.inf:
        got = f"{rank}, {classes}, {memory_budget_bytes}"
        raise ValueRangeError(describe("rank, classes, memory_budget_bytes", got, "2 or 3, at least 1, above 0"))


def _target_spacing(spacings: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(3,) float64 mm: rule 1."""
    target, size = np.median(spacings, axis=0), np.median(sizes, axis=0)
    worst = int(np.argmax(target))
    others = [axis for axis in range(3) if axis != worst]
    coarsest = float(target[others].max())
    if target[worst] > _ANISOTROPY * coarsest and size[worst] * _ANISOTROPY < size[others].min():
        fine = float(np.percentile(spacings[:, worst], 10))
        target[worst] = fine if fine >= coarsest else coarsest + 1e-5
    return target


@dataclass(frozen=True)
class _Network:
    """Stages for one patch, and what they take."""

    patch: tuple[int, ...]
    features: list[int]
    kernels: list[tuple[int, ...]]
    strides: list[tuple[int, ...]]
    multiple: tuple[int, ...]
    elements: int


def _fitted(spacing: Sequence[float], median: Sequence[int], budget: float, classes: int, residual: bool) -> _Network:
    """The network of the largest patch whose elements are within the budget: rules 2 to 4. Raises: ValueRangeError."""
    edge = (_VOXELS[len(spacing)] * math.prod(spacing)) ** (1 / len(spacing))
    first = [min(round(edge / step), size) for step, size in zip(spacing, median, strict=True)]
    net = _network(spacing, first, classes, residual)
    if len(net.features) < 2:
        raise ValueRangeError(describe("sizes", f"a median of {tuple(median)}", f"an axis of {3 * _EDGE} voxels"))
    seen = {net.patch}
    while net.elements > budget:
        shorter = _network(spacing, _shortened(spacing, median, net, classes, residual), classes, residual)
        if len(shorter.features) < 2 or shorter.patch in seen:  # rounded up to where it has been
            least = math.ceil(net.elements / _ELEMENTS[len(spacing), residual] * _REFERENCE_BYTES)
            raise ValueRangeError(describe("memory_budget_bytes", "too few for any patch", f"about {least} or more"))
        seen.add(shorter.patch)
        net = shorter
    return net


def _shortened(
    spacing: Sequence[float], median: Sequence[int], net: _Network, classes: int, residual: bool
) -> list[int]:
    """The patch, less one step along the axis that is longest by the median case: rule 4.

    The step is what the strides of the shortened patch divide, so that no size between is left out.
    """
    ratios = [n / m for n, m in zip(net.patch, median, strict=True)]
    axis = max(range(len(ratios)), key=lambda i: (ratios[i], i))
    trial = list(net.patch)
    trial[axis] -= net.multiple[axis]
    if trial[axis] < 1:
        return list(net.patch)
    step = _network(spacing, trial, classes, residual).multiple[axis]
    return [n - step * (i == axis) for i, n in enumerate(net.patch)]


def _network(spacing: Sequence[float], patch: Sequence[int], classes: int, residual: bool) -> _Network:
    """Stages for a patch, which is rounded up to what their strides divide: rule 3."""
    rank = len(spacing)
    steps, size, halvings = list(spacing), list(patch), [0] * rank
    kernel, kernels, strides = [1] * rank, [], [(1,) * rank]
    while axes := _halved(steps, size):
        kernel = [3 if k == 3 or step / min(steps) < 2 else 1 for k, step in zip(kernel, steps, strict=True)]
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if axis in axes else 1 for axis in range(rank)))
        for axis in axes:
            halvings[axis] += 1
            steps[axis] *= 2
            size[axis] = -(-size[axis] // 2)
    kernels.append((3,) * rank)
    multiple = tuple(2**n for n in halvings)
    rounded = tuple(-(-n // m) * m for n, m in zip(patch, multiple, strict=True))
    features = [min(_BASE * 2**stage, _MOST[rank]) for stage in range(len(strides))]
    return _Network(
        rounded, features, kernels, strides, multiple, _elements(rounded, features, strides, classes, residual)
    )


def _halved(steps: Sequence[float], size: Sequence[int]) -> list[int]:
    """Axes that the next stage halves, of spacings and sizes at the last."""
    long = [axis for axis, n in enumerate(size) if n >= 2 * _EDGE]
    axes = [axis for axis in long if steps[axis] / min(steps[i] for i in long) < 2]
    return [] if len(axes) == 1 and size[axes[0]] < 3 * _EDGE else axes


def _elements(
    patch: Sequence[int], features: Sequence[int], strides: Sequence[Sequence[int]], classes: int, residual: bool
) -> int:
    """Elements of the outputs of all convolutions for one patch: what nnU-Net measures memory by.

    A residual block counts two, and one more where its skip pools or changes the channels.
    """
    size, total, inputs, maps = list(patch), 0, features[0], []
    for stage, (channels, stride) in enumerate(zip(features, strides, strict=True)):
        size = [n // r for n, r in zip(size, stride, strict=True)]
        maps.append(math.prod(size) * channels)
        if residual:
            blocks = [*_BLOCKS, *[6] * (stage + 1)][stage]
            total += (2 * blocks + int(max(stride) > 1 or channels != inputs)) * maps[-1]
        else:
            total += 2 * maps[-1]
        inputs = channels
    upward = 2 if residual else 3  # the transposed convolution, and 1 or 2 behind it
    return total + upward * sum(maps[:-1]) + (maps[0] if residual else 0) + classes * math.prod(patch)
