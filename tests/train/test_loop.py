"""The loop: reference, the log, validation, early stop, multi-step turns, waiting, typed errors."""

from __future__ import annotations

import copy
import csv
import logging
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from training import Toy, bright_squares, infection_table, same, toy_table  # noqa: E402

from covfast.errors import BackendUnavailable, DeviceError, ValueRangeError  # noqa: E402
from covfast.models import MiniSeg  # noqa: E402
from covfast.train.augment import Augmentation, augment  # noqa: E402
from covfast.train.distributed import choose_device  # noqa: E402
from covfast.train.feeder import Feeder  # noqa: E402
from covfast.train.logs import read_log  # noqa: E402
from covfast.train.loop import CHECKPOINT, Trainer, read_checkpoint, run  # noqa: E402
from covfast.train.losses import supervised  # noqa: E402
from covfast.train.systems.miniseg_infection import MiniSegInfection, draw_batch  # noqa: E402


def plain_training(table: dict[str, Any], steps: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The training of miniseg-infection written plainly, as it was before there was a trainer for all systems."""
    settings, slices = table["optimisation"], bright_squares()
    torch.manual_seed(table["seed"])
    model = MiniSeg().to(memory_format=torch.channels_last).train()
    average = copy.deepcopy(model).eval()
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings["rate"], weight_decay=settings["decay"])
    generator = torch.Generator().manual_seed(table["seed"])
    torch.manual_seed(table["seed"])
    for step in range(steps):
        which = draw_batch(slices, settings["shares"], settings["batch"], generator)
        images, masks = torch.from_numpy(slices.images)[which], torch.from_numpy(slices.masks)[which]
        x, y = augment(images, masks, Augmentation(size=32, **table["augmentation"]), generator)
        x = ((x - 0.45) / 0.30).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        part = (step - settings["warmup"]) / (settings["steps"] - settings["warmup"])
        rate = 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * part))
        rate = (step + 1) / settings["warmup"] if step < settings["warmup"] else rate
        optimiser.param_groups[0]["lr"] = settings["rate"] * rate
        loss = supervised(model(x), y, settings["positive_weight"], settings["auxiliary"], settings["cross_entropy"])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        keep = min(settings["average"], (1.0 + step) / (10.0 + step))
        for mine, theirs in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
            mine.lerp_(theirs, 1.0 - keep) if mine.is_floating_point() else mine.copy_(theirs)
    return model.state_dict(), average.state_dict()


def test_miniseg_infection_is_bit_for_bit_the_plain_training(tmp_path: Path) -> None:
    table = infection_table(steps=4)
    weights, average = plain_training(table, 4)
    trainer = Trainer(MiniSegInfection(table, bright_squares()))
    kept = run(trainer, tmp_path)
    assert same(kept.state_dict(), average)
    assert same(trainer.model.state_dict(), weights)


def test_loss_falls_on_synthetic_slices(tmp_path: Path) -> None:
    system = MiniSegInfection(infection_table(steps=40, batch=4), bright_squares())
    run(Trainer(system), tmp_path)
    losses = [float(row["loss"]) for row in read_log(tmp_path / "log.csv")]
    assert np.mean(losses[-4:]) < 0.75 * np.mean(losses[:4])


def test_log_has_a_row_and_a_line_an_interval(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="covfast"):
        run(Trainer(Toy(toy_table(interval=3))), tmp_path)
    with open(tmp_path / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["3", "6", "8"]
    assert all(0.0 <= float(row["waiting_percent"]) <= 100.0 for row in rows)
    assert sum("min left" in record.getMessage() for record in caplog.records) == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == [CHECKPOINT, "log.csv"]


def test_every_size_of_a_turn_is_an_optimiser_step(tmp_path: Path) -> None:
    trainer = Trainer(Toy(toy_table(), turns=3, steps_a_turn=3))
    run(trainer, tmp_path)
    assert trainer.step == 9
    assert trainer.optimiser.param_groups[0]["lr"] == pytest.approx(trainer.system.rate(8))


def test_group_with_a_multiplier_learns_at_its_own_rate() -> None:
    class Slow(Toy):
        def optimiser(self, module: nn.Module) -> Any:
            groups = [{"params": [p], "rate_multiplier": 0.5 * k} for k, p in enumerate(module.parameters())]
            return torch.optim.SGD(groups, lr=1.0)

    trainer = Trainer(Slow(toy_table()))
    trainer.advance(trainer.draw(0, torch.Generator())[0])
    assert [group["lr"] for group in trainer.optimiser.param_groups] == pytest.approx([0.0, 0.05, 0.1, 0.15])


def test_best_weights_are_kept_and_training_stops_when_no_score_is_better(tmp_path: Path) -> None:
    table = toy_table(validate_every=1, patience=2, keep="best")
    trainer = Trainer(Toy(table, turns=20, scores=(0.1, 0.5, 0.4, 0.3, 0.9)))
    kept = run(trainer, tmp_path)
    assert (trainer.step, trainer.best, trainer.is_stopped) == (4, 0.5, True)
    best = run(Trainer(Toy(toy_table(), turns=2)), make(tmp_path / "plain"))
    assert same(kept.state_dict(), best.state_dict())
    assert [row["score"] for row in read_log(tmp_path / "log.csv")] == ["0.10000", "0.50000", "0.40000", "0.30000"]
    again = Trainer(Toy(table, turns=20, scores=(0.9,)))
    assert same(run(again, tmp_path).state_dict(), kept.state_dict())
    assert again.step == 4


@pytest.mark.parametrize("run_table", [{"keep": "best"}, {"patience": 3}])
def test_best_weights_without_a_validation_are_refused(tmp_path: Path, run_table: dict[str, Any]) -> None:
    with pytest.raises(ValueRangeError, match=rf"run\.{next(iter(run_table))}: got .* without a validation"):
        run(Trainer(Toy(toy_table(**run_table))), tmp_path)

    class Whole(Toy):
        def splits(self) -> dict[str, list[str]]:
            return {"training": ["a"], "validation": []}

    with pytest.raises(ValueRangeError, match=r"split\.folds"):
        run(Trainer(Whole(toy_table(validate_every=1, **run_table))), tmp_path)
    assert not list(tmp_path.iterdir())


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_batches_ahead_are_those_drawn_in_the_loop() -> None:
    def states(ahead: int) -> list[torch.Tensor]:
        trainer = Trainer(Toy(toy_table()))
        with Feeder(trainer.draw, 0, 5, trainer.generator, ahead) as feeder:
            made = [feeder.next() for _ in range(5)]
        return [part for batches, state in made for part in (batches[0]["x"], state)]

    for one, other in zip(states(0), states(3), strict=True):
        assert torch.equal(one, other)


def test_waiting_for_data_is_measured() -> None:
    def slow(turn: int, generator: torch.Generator) -> list[Any]:
        time.sleep(0.05)
        return []

    with Feeder(slow, 0, 3, torch.Generator().get_state(), 0) as feeder:
        for _ in range(3):
            feeder.next()
        assert feeder.waited_s >= 0.15


def test_error_in_the_data_thread_reaches_the_loop(tmp_path: Path) -> None:
    class Broken(Toy):
        def draw(self, turn: int, *rest: Any) -> Any:
            if turn == 3:
                raise ValueRangeError("slice 7: broken")
            return super().draw(turn, *rest)

    with pytest.raises(ValueRangeError, match="slice 7"):
        run(Trainer(Broken(toy_table())), tmp_path)
    assert read_checkpoint(tmp_path / CHECKPOINT)["step"] == 2


def test_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    class Diverging(Toy):
        def loss(self, network: nn.Module, batch: Any, step: int) -> torch.Tensor:
            return super().loss(network, batch, step) * (math.nan if step == 5 else 1.0)

    with pytest.raises(ValueRangeError, match="finite"):
        run(Trainer(Diverging(toy_table())), tmp_path)
    held = read_checkpoint(tmp_path / CHECKPOINT)
    assert held["step"] == 4
    assert all(bool(torch.isfinite(value).all()) for value in held["model"].values())


def test_device_that_is_not_there_raises() -> None:
    for name in ("cuda:97", *(() if torch.cuda.is_available() else ("cuda",))):
        with pytest.raises(DeviceError, match="auto"):
            choose_device(name)
    with pytest.raises(ValueRangeError, match="gpu"):
        choose_device("gpu")
    with pytest.raises(DeviceError, match="precision"):
        Trainer(Toy(toy_table(precision="mixed")))


def test_tensorboard_asked_for_and_absent_raises(tmp_path: Path) -> None:
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        with pytest.raises(BackendUnavailable, match="tensorboard"):
            run(Trainer(Toy(toy_table(tensorboard=True))), tmp_path)
    else:
        run(Trainer(Toy(toy_table(tensorboard=True))), tmp_path)
        assert list((tmp_path / "tensorboard").iterdir())


def test_batches_follow_the_shares_of_the_kinds() -> None:
    slices, shares = bright_squares(), {"doctor": 0.25, "aligned": 0.75, "png": 5.0}
    picked = draw_batch(slices, shares, 2000, torch.Generator().manual_seed(0))
    share = np.mean([slices.kinds[i] == "doctor" for i in picked.tolist()])
    assert share == pytest.approx(0.25, abs=0.04)


def test_shares_that_leave_nothing_to_draw_are_refused() -> None:
    with pytest.raises(ValueRangeError, match=r"optimisation.shares: got .*'png': 1.0.*expected a share above 0 for"):
        MiniSegInfection(infection_table(shares={"doctor": 0.0, "png": 1.0}), bright_squares())


def test_validation_of_miniseg_infection_is_dice_of_expert_slices() -> None:
    system = MiniSegInfection(infection_table(), bright_squares(), bright_squares(side=320))

    class All(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([torch.zeros_like(x[:, 0]), torch.ones_like(x[:, 0])], 1)

    truth = [float((mask > 0).mean()) for mask in bright_squares(side=320).masks[::2]]
    expected = np.mean([2 * part / (1 + part) for part in truth])
    assert system.validate(All(), torch.device("cpu")) == pytest.approx(expected, abs=1e-6)
