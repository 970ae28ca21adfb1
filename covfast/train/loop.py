"""The training loop of every system: seeded, resumable after a kill to the same bits, logged, stopped early."""

# torch is not followed by the type checker: its classes and functions are Any.
# mypy: allow-untyped-decorators

from __future__ import annotations

import copy
import errno
import io
import logging
import math
import os
import pickle
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from covfast.errors import CovfastError, DeviceError, FormatError, ValueRangeError, describe
from covfast.outputs import replace_file
from covfast.train.distributed import Share, spread
from covfast.train.feeder import Batch, Feeder
from covfast.train.logs import Log
from covfast.train.systems.base import System, require_validation

log = logging.getLogger("covfast")

CHECKPOINT, BEST = "checkpoint.pt", "best.pt"
WEIGHT = "weight"
"""Key of a batch: factor of its loss (`Share.weight`), 1 where there is none."""

Progress = Callable[[str, int, int], None]
"""(stage, done, total), as `covfast segment` reports it."""


class Trainer:
    """Network, averaged network, optimiser and random states: everything that a checkpoint holds.

    Args:
        system: What is trained.
        device: Of the network.
        share: Of this process in the batches.
        initial: Weights to start from; fresh ones drawn with the recipe's seed if None.

    Raises:
        DeviceError: Mixed precision without CUDA.
    """

    def __init__(
        self,
        system: System,
        device: torch.device | str = "cpu",
        share: Share | None = None,
        initial: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.system, self.table, self.share = system, system.table, share or Share()
        self.device = torch.device(device)
        self.mixed = self.table["run"]["precision"] == "mixed"
        if self.mixed and self.device.type != "cuda":
            expected = "a CUDA device, or run.precision fp32"
            raise DeviceError(describe("run.precision", f"mixed on {self.device}", expected))
        torch.manual_seed(self.table["seed"])
        self.model: Any = system.build()
        if initial is not None:
            self.model.load_state_dict(initial)
        if self.share.world > 1 and self.device.type == "cuda":
            self.model = nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
        self.model = self.model.to(self.device).train()
        self.average = copy.deepcopy(self.model).eval() if system.average is not None else None
        self.network = spread(self.model, self.share, self.device, system.has_unused)
        self.optimiser = system.optimiser(self.model)
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.mixed)
        self.generator = torch.Generator().manual_seed(self.table["seed"]).get_state()
        self.step, self.seconds, self.waited_s = 0, 0.0, 0.0
        self.best, self.since_best, self.is_stopped = -math.inf, 0, False

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.system.turns * self.system.steps_a_turn

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds; tensors and numbers only. The global generators drive dropout."""
        noise = [torch.get_rng_state()]
        if self.device.type == "cuda":
            noise.append(torch.cuda.get_rng_state(self.device))
        return {
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "generator": self.generator,
            "dropout": self.share.gather(noise),
            "step": self.step,
            "seconds": self.seconds,
            "waited_s": self.waited_s,
            "best": self.best,
            "since_best": self.since_best,
            "is_stopped": self.is_stopped,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on where a checkpoint was written.

        Raises:
            ValueRangeError: It was written by another number of processes.
        """
        if len(state["dropout"]) != self.share.world:
            got = f"{self.share.world} processes"
            raise ValueRangeError(describe("torchrun", got, f"the {len(state['dropout'])} of the checkpoint"))
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.generator = state["generator"]
        noise = state["dropout"][self.share.rank]
        torch.set_rng_state(noise[0])
        if self.device.type == "cuda" and len(noise) > 1:
            torch.cuda.set_rng_state(noise[1], self.device)
        for name in ("step", "seconds", "waited_s", "best", "since_best", "is_stopped"):
            setattr(self, name, state[name])

    def draw(self, turn: int, generator: torch.Generator) -> list[Batch]:
        """This process's batches of a turn."""
        return self.system.draw(turn, generator, self.share)

    def advance(self, batch: Batch) -> Tensor:
        """One optimiser step; returns the loss, a scalar on the device."""
        batch = {name: values.to(self.device, non_blocking=True) for name, values in batch.items()}
        weight = batch.pop(WEIGHT, None)
        rate = self.system.rate(self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group.get("rate_multiplier", 1.0)
        with torch.amp.autocast("cuda", torch.float16, enabled=self.mixed):
            loss = self.system.loss(self.network, batch, self.step)
        loss = loss if weight is None else loss * weight
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimiser)
        self.system.clip(self.model)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.average is not None:
            self._follow(cast(float, self.system.average))
        self.step += 1
        return cast(Tensor, loss.detach())

    @torch.no_grad()
    def _follow(self, decay: float) -> None:
        """Move the average towards the model; early steps weigh more, so that the start is forgotten."""
        keep = min(decay, (1.0 + self.step) / (10.0 + self.step))
        pairs = zip(self.kept.state_dict().values(), self.model.state_dict().values(), strict=True)
        for mine, theirs in pairs:
            if mine.is_floating_point():
                mine.lerp_(theirs, 1.0 - keep)
            else:
                mine.copy_(theirs)

    @property
    def kept(self) -> nn.Module:
        """The network that counts: the averaged one where there is one."""
        return cast(nn.Module, self.model if self.average is None else self.average)

    def validate(self) -> float | None:
        """Score of the kept network, the same number in every process."""
        score = None
        if self.share.rank == 0:
            was_training = self.kept.training
            with torch.inference_mode():
                score = self.system.validate(self.kept.eval(), self.device)
            self.kept.train(was_training)
        return cast("float | None", self.share.first(score))

    def judge(self, score: float, out: Path) -> None:
        """Remember the best score and its weights; stop after `run.patience` scores that are no better."""
        if score > self.best:
            self.best, self.since_best = score, 0
            if self.share.rank == 0:
                write(self.kept.state_dict(), out / BEST)
        else:
            self.since_best += 1
            self.is_stopped = 0 < self.table["run"]["patience"] <= self.since_best


def write(state: Mapping[str, Any], path: Path) -> None:
    """Write tensors so that a kill or a full disk leaves the old file or the new one, never half of one.

    Raises:
        OutputError: It cannot be written; the old file is still there.
    """

    def fill(file: io.BufferedIOBase) -> None:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # torch's own name for a write that failed
            cause = error.__context__
            raise cause if isinstance(cause, OSError) else OSError(errno.EIO, "the disk refused it") from None

    replace_file(path, fill)  # type: ignore[arg-type]


def read_checkpoint(path: Path, hint: str = "delete it to begin anew") -> dict[str, Any]:
    """A file that `write` wrote. Raises: FormatError: it cannot be read; `hint` says what to do then."""
    try:
        return cast("dict[str, Any]", torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile, KeyError) as error:
        expected = "a whole checkpoint"
        raise FormatError(describe(path.name, type(error).__name__, expected, hint)) from error


def resume(trainer: Trainer, path: Path) -> None:
    """Go on from a checkpoint. Raises: FormatError: it is none of this run; ValueRangeError: as `Trainer.load`."""
    state = read_checkpoint(path)
    try:
        trainer.load(state)
    except CovfastError:
        raise
    except (KeyError, RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
        got, expected = f"another content ({type(error).__name__})", "a checkpoint of this run"
        raise FormatError(describe(path.name, got, expected, "delete it to begin anew")) from error


def run(trainer: Trainer, out: Path, progress: Progress | None = None) -> nn.Module:
    """Train to the end, from `out/checkpoint.pt` where it exists, and return the network that is kept.

    Args:
        trainer: A fresh trainer.
        out: Folder for `checkpoint.pt`, `best.pt` and `log.csv`.
        progress: Called once a turn.

    Returns:
        The last weights, or with `run.keep = "best"` those of the best validation; in evaluation mode.

    Raises:
        FormatError: The checkpoint cannot be read.
        OutputError: A checkpoint or the log cannot be written; the last good one is still there.
        ValueRangeError: The loss is no finite number, or the best weights are asked for and nothing is validated.
    """
    require_validation(trainer.table["run"], bool(trainer.system.splits().get("validation", True)))
    torch.manual_seed(trainer.table["seed"] + trainer.share.rank)
    if (out / CHECKPOINT).exists():
        resume(trainer, out / CHECKPOINT)
    settings, each = trainer.table["run"], trainer.system.steps_a_turn
    is_first = trainer.share.rank == 0
    rows = Log(out, trainer.step, settings["tensorboard"], is_first)
    turns = (trainer.step // each, 0 if trainer.is_stopped else trainer.system.turns)
    with Feeder(trainer.draw, *turns, trainer.generator, ahead(settings["prefetch"], trainer.device)) as feeder:
        watch = _Watch(trainer, feeder)
        while trainer.step < trainer.steps and not trainer.is_stopped:
            before = trainer.step
            batches, after = feeder.next()
            watch.losses += [trainer.advance(batch) for batch in batches]
            trainer.generator = after
            _look(trainer, before, watch, rows, out)
            if progress is not None and is_first:
                progress(str(trainer.table["name"]), trainer.step, trainer.steps)
    rows.close()
    if settings["keep"] == "best" and (out / BEST).exists():
        trainer.kept.load_state_dict(read_checkpoint(out / BEST))
    return trainer.kept.eval()


def ahead(prefetch: int, device: torch.device) -> int:
    """Turns to draw ahead: none on a CPU whose cores all work on the network, from which a thread would take them."""
    is_full = device.type == "cpu" and torch.get_num_threads() >= len(os.sched_getaffinity(0))
    return 0 if is_full else prefetch


class _Watch:
    """Losses and times since the last row of the log."""

    def __init__(self, trainer: Trainer, feeder: Feeder) -> None:
        self.trainer, self.feeder = trainer, feeder
        self.losses: list[Tensor] = []
        self._time, self._waited_s = time.perf_counter(), 0.0

    def row(self, score: float | None) -> dict[str, str]:
        """The row of this step; begins the next interval. Raises: ValueRangeError: the loss is no finite number."""
        trainer, now = self.trainer, time.perf_counter()
        loss = float(torch.stack(self.losses).double().mean())
        if not math.isfinite(loss):
            hint = "a lower optimisation.rate, or run.precision fp32"
            raise ValueRangeError(describe("loss", f"{loss} before step {trainer.step}", "a finite number", hint))
        passed, waited = now - self._time, self.feeder.waited_s - self._waited_s
        trainer.seconds += passed
        trainer.waited_s += waited
        self._time, self._waited_s, self.losses = now, self.feeder.waited_s, []
        left_min = trainer.seconds / trainer.step * (trainer.steps - trainer.step) / 60.0
        text = "step %d/%d loss %.4f, %.0f %% of the time waiting for data, %.0f min left"
        level = logging.INFO if trainer.share.rank == 0 else logging.DEBUG  # one line, not one of every process
        log.log(level, text, trainer.step, trainer.steps, loss, 100.0 * waited / passed, left_min)
        return {
            "step": str(trainer.step),
            "loss": f"{loss:.5f}",
            "rate": f"{trainer.system.rate(min(trainer.step, trainer.steps - 1)):.3e}",
            "seconds": f"{trainer.seconds:.1f}",
            "waiting_percent": f"{100.0 * waited / passed:.1f}",
            "score": "" if score is None else f"{score:.5f}",
        }


def _look(trainer: Trainer, before: int, watch: _Watch, rows: Log, out: Path) -> None:
    """Validate, log and write a checkpoint where an interval ends between step `before` and now, or the run does."""
    settings = trainer.table["run"]

    def is_due(every: int) -> bool:
        return every > 0 and (trainer.step // every > before // every or trainer.step == trainer.steps)

    score = trainer.validate() if is_due(settings["validate_every"]) else None
    if score is not None:
        trainer.judge(score, out)
    if is_due(settings["interval"]) or score is not None:
        rows.add(watch.row(score))
        state = trainer.state()
        if trainer.share.rank == 0:
            write(state, out / CHECKPOINT)
