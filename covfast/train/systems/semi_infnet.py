"""Semi-Inf-Net: Inf-Net and the random-selected propagation of its own labels (Fan et al., IEEE TMI 39(8), 2020).

1. Inf-Net on the labelled slices.
2. The unlabelled slices, shuffled, in groups of K = 5. For each group: the network labels it, it joins the training
   set (the labelled slices and all groups before), and the network is tuned on that set for a few epochs.
3. A fresh Inf-Net on the pseudo-labelled slices, then tuned on the labelled ones.

A killed run goes on in the round and at the step where it was.
"""

# torch is not followed by the type checker: its classes and functions are Any.

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from covfast.errors import ValueRangeError, describe
from covfast.outputs import make_folder, replace_file
from covfast.train.loop import read_checkpoint, write
from covfast.train.recipe import Recipe
from covfast.train.systems.edges import mask_edge
from covfast.train.systems.infnet import InfNetSystem, Source, backbone, beginning, labelled, predict
from covfast.train.systems.pictures import Part, Pictures
from covfast.train.systems.stage import Context, run_stage, train_stage

STATE = "propagation.pt"
"""Finished rounds, their steps and seconds, and the network behind them."""

EDGE_LEVEL = 128
"""Grey value above which a pseudo-label counts for its edge."""


def run(context: Context) -> nn.Module:
    """The three steps; what is finished is only read."""
    table, data = context.table, context.data
    train, held = labelled(table, data)
    start = beginning(context, InfNetSystem(table, train))
    unlabelled = Pictures({"image": Part(data / table["data"]["unlabelled"], 3)}, table["input"]["size"])
    groups = drawn_groups(unlabelled.names, table)
    first = _stage(context, "supervised", table, train, held, start)
    propagate(context, unlabelled, groups, train, held, first.state_dict())
    names = [name for group in groups for name in group]
    pseudo = Source([(pseudo_pictures(context, names), names)])
    fresh = _stage(context, "pseudo", table, pseudo, held, start)
    return _stage(context, "tuned", table, train, held, fresh.state_dict())


def _stage(
    context: Context, name: str, table: Recipe, train: Source, held: Source | None, initial: dict[str, Tensor] | None
) -> nn.Module:
    return run_stage(context, InfNetSystem(table, train, held, backbone(context)), name, initial)


def drawn_groups(names: Sequence[str], table: Recipe) -> list[list[str]]:
    """The groups of unlabelled slices in the order of their rounds, drawn with the recipe's seed.

    Raises:
        ValueRangeError: More slices or rounds asked for than there are.
    """
    wanted, size = table["data"]["unlabelled_count"] or len(names), table["propagation"]["group"]
    if wanted > len(names):
        expected = f"at most the {len(names)} slices that are there"
        raise ValueRangeError(describe("data.unlabelled_count", str(wanted), expected))
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(table["seed"])).tolist()
    chosen = [names[i] for i in order[:wanted]]
    groups = [chosen[start : start + size] for start in range(0, wanted, size)]
    rounds = table["propagation"]["rounds"] or len(groups)
    if rounds > len(groups):
        raise ValueRangeError(describe("propagation.rounds", str(rounds), f"at most {len(groups)}, one a group"))
    return groups[:rounds]


def tuning_table(table: Recipe) -> Recipe:
    """The recipe of one round."""
    changed = {key: table["propagation"][key] for key in ("epochs", "rate", "batch")}
    return {**table, "optimisation": {**table["optimisation"], **changed}}


def propagate(
    context: Context,
    unlabelled: Pictures,
    groups: Sequence[Sequence[str]],
    train: Source,
    held: Source | None,
    state: dict[str, Tensor],
) -> None:
    """Every round that is not finished. What counts of it are the labels that it leaves."""
    path, table = context.out / STATE, tuning_table(context.table)
    done: dict[str, float] = {"rounds": 0, "steps": 0, "seconds": 0.0}
    decoded = [unlabelled]
    if path.exists():
        kept = read_checkpoint(path)
        done, state = {key: kept.get(key, value) for key, value in done.items()}, kept["model"]
    for number in range(int(done["rounds"]), len(groups)):
        with context.share.in_turn():
            if context.share.rank == 0:
                _forget(context.out, number)
                label(context, unlabelled, groups[number], state)
        names = [name for group in groups[: number + 1] for name in group]
        pseudo = pseudo_pictures(context, names, decoded)
        decoded = [unlabelled, pseudo]
        sets = [*train.sets, (pseudo, names)]
        system = InfNetSystem(table, Source(sets), held)
        module, trainer = train_stage(context, system, round_name(number), state)
        state = {key: value.cpu().clone() for key, value in module.state_dict().items()}
        done = {
            "rounds": number + 1,
            "steps": done["steps"] + trainer.step,
            "seconds": round(done["seconds"] + trainer.seconds, 1),
        }
        if context.share.rank == 0:
            write({**done, "model": state}, path)
        context.share.gather(number)  # nobody begins the next round before this one is on disk
    if context.share.rank == 0:
        _forget(context.out, len(groups))
        context.record.end("propagation", **done, slices=sum(map(len, groups)))


def round_name(number: int) -> str:
    """The folder of a round."""
    return f"round_{number:04d}"


def _forget(out: Path, number: int) -> None:
    """Remove the folders of rounds before `number`: their weights stand in the state."""
    for folder in out.glob("round_*"):
        if re.fullmatch(r"round_\d{4,}", folder.name) and int(folder.name[6:]) < number:
            shutil.rmtree(folder)


def label(context: Context, unlabelled: Pictures, names: Sequence[str], state: dict[str, Tensor]) -> None:
    """Write mask and edge of a group as the network of `state` sees it, into `out/pseudo`.

    The map is stretched to 0..255 slice by slice, as the released code does.
    """
    module: Any = InfNetSystem(context.table, Source([(unlabelled, names)])).build()
    module.load_state_dict(state)
    module = module.to(context.device).eval()
    for name in names:
        with torch.inference_mode():
            grey = stretched(predict(module, unlabelled.stack("image", [name]), context.table, context.device)[0, 0])
        for part, pixels in (("GT", grey), ("Edge", mask_edge(grey > EDGE_LEVEL))):
            picture = Image.fromarray(pixels)
            folder = make_folder(context.out / "pseudo" / part)
            replace_file(folder / f"{name}.png", lambda file, p=picture: p.save(file, "PNG"))  # type: ignore[misc]


def stretched(probability: Tensor) -> Any:
    """(H, W) uint8 of a map: (p - min) / (max - min + 1e-8) * 255."""
    low, high = probability.min(), probability.max()
    return np.asarray((probability - low) / (high - low + 1e-8) * 255.0 + 0.5).astype(np.uint8)


def pseudo_pictures(context: Context, names: Sequence[str], decoded: Sequence[Pictures] = ()) -> Pictures:
    """The pseudo-labelled slices of these names; what was decoded for an earlier round is not decoded again."""
    folder = context.out / "pseudo"
    parts = {
        "image": Part(context.data / context.table["data"]["unlabelled"], 3),
        "mask": Part(folder / "GT"),
        "edge": Part(folder / "Edge"),
    }
    pictures = Pictures(parts, context.table["input"]["size"], names)
    for earlier in decoded:
        pictures.carry(earlier)
    return pictures
