"""The loop: the loss falls, a resumed run gives the weights of an uninterrupted one."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from covfast.models import MiniSeg  # noqa: E402
from covfast.train.augment import Augmentation  # noqa: E402
from covfast.train.data import Slices  # noqa: E402
from covfast.train.loop import Settings, Trainer, draw_batch, rate_at, run  # noqa: E402

SETTINGS = Settings(
    steps=8, batch=2, seed=1, rate=1e-2, warmup=2, decay=1e-4, average=0.9, positive_weight=1.0, auxiliary=0.4,
    mean=0.5, std=0.3, shares={"doctor": 0.5, "aligned": 0.5}, interval=2,
)  # fmt: skip


def bright_squares(n: int = 8, side: int = 32) -> Slices:
    """Slices whose infection is a bright square."""
    rng = np.random.default_rng(0)
    images, masks = np.full((n, side, side), 60, np.uint8), np.zeros((n, side, side), np.uint8)
    for k in range(n):
        i, j = rng.integers(2, side - 14, 2)
        masks[k, i : i + 12, j : j + 12] = 255
    images[masks > 0] = 200
    kinds = ("doctor", "aligned") * (n // 2)
    names = tuple(str(k) for k in range(n))
    return Slices(images, masks, np.full_like(masks, 255), names, kinds, names)


def trainer() -> Trainer:
    torch.manual_seed(SETTINGS.seed)
    return Trainer(MiniSeg(blocks=(1, 1, 1, 1)), bright_squares(), Augmentation(size=32), SETTINGS)


def test_loss_falls_on_synthetic_slices() -> None:
    torch.manual_seed(0)
    settings = Settings(**{**SETTINGS.__dict__, "steps": 40, "batch": 4})
    learner = Trainer(MiniSeg(blocks=(1, 1, 1, 1)), bright_squares(), Augmentation(size=32), settings)
    losses = [learner.advance() for _ in range(40)]
    assert np.mean(losses[-8:]) < 0.75 * np.mean(losses[:8])


def test_resumed_run_gives_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = run(trainer(), tmp_path / "whole").state_dict()
    run(trainer(), tmp_path / "cut", stop_at=4)
    torch.manual_seed(99)
    torch.rand(5)
    resumed = run(trainer(), tmp_path / "cut").state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_run_writes_a_log_row_and_a_progress_line_an_interval(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="covfast"):
        run(trainer(), tmp_path)
    with open(tmp_path / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4", "6", "8"]
    assert sum("min left" in record.getMessage() for record in caplog.records) == 4
    assert not list(tmp_path.glob("*.part"))


def test_run_on_a_finished_checkpoint_changes_nothing(tmp_path: Path) -> None:
    first = run(trainer(), tmp_path).state_dict()
    again = run(trainer(), tmp_path).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_rate_rises_then_falls_to_a_hundredth() -> None:
    rates = [rate_at(step, SETTINGS) for step in range(SETTINGS.steps + 1)]
    assert max(rates) == pytest.approx(SETTINGS.rate)
    assert rates[0] == pytest.approx(SETTINGS.rate / 2)
    assert rates[-1] == pytest.approx(SETTINGS.rate / 100)


def test_batches_follow_the_shares_of_the_kinds() -> None:
    settings = Settings(**{**SETTINGS.__dict__, "batch": 2000, "shares": {"doctor": 0.25, "aligned": 0.75, "png": 5.0}})
    slices = bright_squares()
    picked = draw_batch(slices, settings, torch.Generator().manual_seed(0))
    share = np.mean([slices.kinds[i] == "doctor" for i in picked.tolist()])
    assert share == pytest.approx(0.25, abs=0.04)
