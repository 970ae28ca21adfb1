"""Learning rates: closed forms, ends, and Inf-Net's code beside its paper."""

from __future__ import annotations

import math

import pytest

from covfast.errors import ValueRangeError
from covfast.train.schedules import infnet_rate, poly, step_decay, warmup_cosine


def test_poly_falls_from_the_rate_to_zero() -> None:
    assert poly(0, 1e-3, 80) == 1e-3
    assert poly(40, 1e-3, 80) == pytest.approx(1e-3 * 0.5**0.9)
    assert poly(40, 1e-3, 80, power=1.0) == pytest.approx(5e-4)
    assert poly(80, 1e-3, 80) == poly(99, 1e-3, 80) == 0.0


def test_warmup_cosine_rises_to_the_rate_and_ends_at_one_percent() -> None:
    rates = [warmup_cosine(step, 0.004, 10, 110) for step in range(111)]
    assert rates[0] == pytest.approx(0.0004)
    assert rates[9] == rates[10] == pytest.approx(0.004)
    assert rates[60] == pytest.approx(0.004 * (0.01 + 0.99 / 2))
    assert rates[35] == pytest.approx(0.004 * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi / 4))))
    assert rates[110] == warmup_cosine(200, 0.004, 10, 110) == pytest.approx(0.00004)
    assert warmup_cosine(0, 0.004, 0, 10) == pytest.approx(0.004)


def test_step_decay_falls_every_so_many_epochs() -> None:
    assert [step_decay(e, 1.0) for e in (0, 49, 50, 99, 100)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_infnet_rate_of_the_code_falls_at_every_epoch_from_50() -> None:
    """The loop of the release, played: the optimiser's rate is multiplied in place once an epoch."""
    rate = 1e-4
    for epoch in range(1, 100):
        rate *= 0.1 ** (epoch // 50)
        assert infnet_rate(epoch, 1e-4) == pytest.approx(rate, rel=1e-9)
    assert infnet_rate(49, 1e-4) == 1e-4
    assert infnet_rate(51, 1e-4) == pytest.approx(1e-6)


def test_infnet_rate_of_the_paper_is_step_decay() -> None:
    rates = [infnet_rate(epoch, 1e-4, fidelity="paper") for epoch in range(1, 120)]
    assert rates == [step_decay(epoch, 1e-4) for epoch in range(1, 120)]


def test_arguments_out_of_range_are_refused() -> None:
    for call in (lambda: poly(-1, 1.0, 5), lambda: warmup_cosine(0, 1.0, 0, 0), lambda: step_decay(0, 1.0, 0)):
        with pytest.raises(ValueRangeError, match="step"):
            call()
    with pytest.raises(ValueRangeError, match="fidelity"):
        infnet_rate(1, 1.0, fidelity="both")
