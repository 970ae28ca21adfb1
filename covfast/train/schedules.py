"""Learning rates as pure functions of the step or epoch."""

from __future__ import annotations

import math

from covfast.errors import ValueRangeError, describe


def _check(steps: int, step: int) -> None:
    if steps < 1 or step < 0:
        raise ValueRangeError(describe("step of steps", f"{step} of {steps}", "step >= 0 and steps >= 1"))


def poly(step: int, rate: float, steps: int, power: float = 0.9) -> float:
    """rate (1 - step / steps)^power; 0 from `steps` on.

    Args:
        step: Step or epoch, from 0.
        rate: At step 0.
        steps: All of them.
        power: 0.9 in MiniSeg (per iteration) and nnU-Net (per epoch).

    Raises:
        ValueRangeError: step < 0 or steps < 1.
    """
    _check(steps, step)
    return float(rate * max(1.0 - step / steps, 0.0) ** power)


def warmup_cosine(step: int, rate: float, warmup: int, steps: int, floor: float = 0.01) -> float:
    """Linear warm-up, rate (step + 1) / warmup, then half a cosine from `rate` down to `floor` rate.

    rate (floor + (1 - floor) (1 + cos(pi u)) / 2), u = (step - warmup) / (steps - warmup), at most 1.

    Args:
        step: From 0.
        rate: The largest.
        warmup: Steps of the linear rise; 0 for none.
        steps: All of them, warm-up included.
        floor: Part of `rate` that is left at the end.

    Raises:
        ValueRangeError: step < 0 or steps < 1.
    """
    _check(steps, step)
    if step < warmup:
        return rate * (step + 1) / warmup
    part = min((step - warmup) / max(steps - warmup, 1), 1.0)
    return rate * (floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * part)))


def step_decay(epoch: int, rate: float, every: int = 50, factor: float = 0.1) -> float:
    """rate factor^floor(epoch / every).

    Raises:
        ValueRangeError: epoch < 0 or every < 1.
    """
    _check(every, epoch)
    return float(rate * factor ** (epoch // every))


def infnet_rate(epoch: int, rate: float, every: int = 50, fidelity: str = "code", factor: float = 0.1) -> float:
    """Inf-Net's learning rate in an epoch; its loop counts them from 1.

    "paper": `step_decay`, x 0.1 every 50 epochs. "code": the release multiplies the optimiser's own rate in place by
    factor^floor(epoch / every) at every epoch, so that what it did stays: the rate falls tenfold at each epoch from 50
    on (1e-4 in epoch 49, 1e-6 in 51). Beyond epoch 99, where the release stops, the same rule goes on [I].

    Raises:
        ValueRangeError: epoch < 0, every < 1 or an unknown fidelity.
    Source:
        DengPingFan/Inf-Net, MyTrain_LungInf.py and Code/utils/utils.py, adjust_lr.
    """
    if fidelity not in ("code", "paper"):
        raise ValueRangeError(describe("fidelity", repr(fidelity), '"code" or "paper"'))
    if fidelity == "paper":
        return step_decay(epoch, rate, every, factor)
    _check(every, epoch)
    return float(rate * factor ** sum(past // every for past in range(1, epoch + 1)))
