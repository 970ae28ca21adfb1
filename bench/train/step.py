"""A training step of miniseg-infection: covfast's trainer beside the same step written plainly in torch, in turns.

    python bench/train/step.py [--threads 2] [--steps 12] [--rounds 5]

Batches of 12 slices of 256x256, augmented as the recipe says, from synthetic slices. "plain" is a loop as anyone would
write it: draw and augment a batch, then forward, loss, backward, clip, AdamW, average of the weights. "covfast" is the
loop of `covfast train`, which may draw ahead in a thread, and notes losses. "network" is the plain step only,
its batch drawn before the clock starts: the least that both can take on these cores. Waiting is the part of the time in
which the trainer's loop stood for data. First both loops' losses are compared: they are the same numbers.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import timing
import torch
from torch import nn

from covfast.models import MiniSeg
from covfast.train.augment import Augmentation, augment
from covfast.train.data import STORED, Slices
from covfast.train.distributed import Share
from covfast.train.feeder import Feeder
from covfast.train.loop import Trainer, ahead
from covfast.train.losses import supervised
from covfast.train.recipe import read_recipe
from covfast.train.schedules import warmup_cosine
from covfast.train.systems.miniseg_infection import MiniSegInfection, draw_batch


def make_slices(n: int = 60) -> Slices:
    """Smooth random pictures with blobs as masks, of the three kinds that the recipe draws from."""
    random = np.random.default_rng(0)
    coarse = torch.from_numpy(random.random((n, 1, 20, 20), np.float32))
    smooth = nn.functional.interpolate(coarse, size=(STORED, STORED), mode="bicubic")[:, 0].clamp(0, 1).numpy()
    images, masks = (smooth * 255).astype(np.uint8), np.where(smooth > 0.7, 255, 0).astype(np.uint8)
    kinds = tuple(("doctor", "aligned", "png")[i % 3] for i in range(n))
    names = tuple(f"slice{i}" for i in range(n))
    return Slices(images, masks, np.full_like(masks, 255), names, kinds, names)


class Plain:
    """The step as one would write it for this network alone."""

    def __init__(self, table: dict[str, Any], slices: Slices) -> None:
        self.table, self.slices = table, slices
        torch.manual_seed(table["seed"])
        self.model = MiniSeg().to(memory_format=torch.channels_last).train()
        self.average = copy.deepcopy(self.model).eval()
        settings = table["optimisation"]
        self.optimiser = torch.optim.AdamW(self.model.parameters(), settings["rate"], weight_decay=settings["decay"])
        self.images, self.masks = torch.from_numpy(slices.images), torch.from_numpy(slices.masks)
        self.augmentation = Augmentation(size=table["input"]["size"], **table["augmentation"])
        self.generator = torch.Generator().manual_seed(table["seed"])
        self.steps = 0

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        """An augmented batch."""
        settings, given = self.table["optimisation"], self.table["input"]
        which = draw_batch(self.slices, settings["shares"], settings["batch"], self.generator)
        x, y = augment(self.images[which], self.masks[which], self.augmentation, self.generator)
        x = (x - given["mean"]) / given["std"]
        return x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last), y

    def step(self, x: torch.Tensor, y: torch.Tensor) -> float:
        """Forward, loss, backward, clip, update, average."""
        settings = self.table["optimisation"]
        for group in self.optimiser.param_groups:
            group["lr"] = warmup_cosine(self.steps, settings["rate"], settings["warmup"], settings["steps"])
        weights = (settings[key] for key in ("positive_weight", "auxiliary", "cross_entropy"))
        loss = supervised(self.model(x), y, *weights)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimiser.step()
        self.steps += 1
        keep = min(settings["average"], (1.0 + self.steps) / (10.0 + self.steps))
        with torch.no_grad():
            mine, theirs = self.average.state_dict(), self.model.state_dict()
            for name, values in mine.items():
                if values.is_floating_point():
                    values.lerp_(theirs[name], 1.0 - keep)
                else:
                    values.copy_(theirs[name])
        return float(loss.detach())


def check(table: dict[str, Any], slices: Slices) -> float:
    """The largest difference of both loops' first three losses. Raises: SystemExit where they are not the same."""
    plain, trainer = Plain(table, slices), Trainer(MiniSegInfection(table, slices))
    generator = torch.Generator().manual_seed(table["seed"])
    torch.manual_seed(0)  # of dropout
    theirs = [plain.step(*plain.draw()) for _ in range(3)]
    torch.manual_seed(0)
    mine = [float(trainer.advance(trainer.system.draw(turn, generator, Share())[0])) for turn in range(3)]
    worst = max(abs(a - b) for a, b in zip(mine, theirs, strict=True))
    if worst > 1e-5:
        raise SystemExit(f"the losses differ: {mine} and {theirs}")
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=12, help="of each way in each round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    table, slices = read_recipe("miniseg-infection", {"input.size": 256}), make_slices()
    differ = check(table, slices)
    plain, trainer = Plain(table, slices), Trainer(MiniSegInfection(table, slices))
    times: dict[str, list[float]] = {"covfast": [], "plain": [], "network": []}
    waiting: list[float] = []
    for turn in range(options.rounds + 1):  # the first does not count
        start, first = time.perf_counter(), trainer.step
        with Feeder(
            trainer.draw,
            first,
            first + options.steps,
            trainer.generator,
            ahead(table["run"]["prefetch"], trainer.device),
        ) as feeder:
            for _ in range(options.steps):
                (batch,), trainer.generator = feeder.next()
                float(trainer.advance(batch))
        took = {"covfast": time.perf_counter() - start}
        waited = feeder.waited_s / took["covfast"]
        start = time.perf_counter()
        for _ in range(options.steps):
            plain.step(*plain.draw())
        took["plain"] = time.perf_counter() - start
        batches = [plain.draw() for _ in range(options.steps)]
        start = time.perf_counter()
        for drawn in batches:
            plain.step(*drawn)
        took["network"] = time.perf_counter() - start
        if turn > 0:
            waiting.append(100.0 * waited)
            for name, seconds in took.items():
                times[name].append(seconds / options.steps)
    result: dict[str, Any] = {
        "threads": options.threads,
        "steps": options.steps,
        "losses_differ": differ,
        "step_s": {name: timing.spread(values) for name, values in times.items()},
        "waiting_percent": timing.spread(waiting),
    }
    for name, row in result["step_s"].items():
        print(f"{name:8s} {row['median']:.3f} s a step ({row['min']:.3f} to {row['max']:.3f})")
    print(f"waiting  {result['waiting_percent']['median']:.1f} % of the trainer's time")
    print(f"wrote {timing.save('train_step', result).name}")


if __name__ == "__main__":
    main()
