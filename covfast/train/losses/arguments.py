"""What every loss asks of its arguments."""

from __future__ import annotations

import torch
from torch import Tensor

from covfast.errors import ShapeError, ValueRangeError, describe

FIDELITIES = ("code", "paper")


def check_fidelity(fidelity: str) -> None:
    """Raises: ValueRangeError unless `fidelity` is "code" (what a release runs) or "paper" (what its paper says)."""
    if fidelity not in FIDELITIES:
        raise ValueRangeError(describe("fidelity", repr(fidelity), '"code" or "paper"'))


def check_labels(logits: Tensor, target: Tensor) -> None:
    """Raises: ShapeError unless logits are (N, C, ...) and the target (N, ...) of the same size."""
    if logits.ndim < 3 or target.shape != (logits.shape[0], *logits.shape[2:]):
        expected = f"{(logits.shape[0], *logits.shape[2:])}, the logits' shape without classes"
        raise ShapeError(describe("target", f"shape {tuple(target.shape)}", expected))


def check_same(name: str, array: Tensor, other: Tensor) -> None:
    """Raises: ShapeError unless both have one shape."""
    if array.shape != other.shape:
        raise ShapeError(describe(name, f"shape {tuple(array.shape)}", f"{tuple(other.shape)}"))


def at_least_single(x: Tensor) -> Tensor:
    """x in float32, or in float64 if it was: sums over a volume do not fit into half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
