"""Inf-Net against a plain U-Net, and Semi-Inf-Net against Inf-Net, on folds of COVID-SemiSeg's 50 labelled slices.

    python bench/models/infnet_folds.py --data DATA --runs RUNS [--out bench/results/infnet_folds.json]

The question is that of the publication (docs/infnet.md): does Inf-Net segment better than a U-Net, and do unlabelled
slices help? Recipes `unet`, `infnet` and `semi-infnet`, at a size that one core trains: small pictures, a narrow
backbone from new weights (none of ImageNet's), few epochs, few unlabelled slices. So the figures compare these settings
and stand beside none of the published ones. Small pictures are hard on Inf-Net: its maps have a pixel for every eight.

Every slice is held out once and judged by the network that did not learn it (slices of one picture size stay together).
The U-Nets see the same squares, as volumes of slices, with or without augmentation, for as many optimiser steps as
Inf-Net, which has none but its three sizes. Semi-Inf-Net begins with that very Inf-Net and takes more steps:
`infnet, long` has as many, on labelled slices alone. Rates fall in the U-Nets alone (poly). Rates and momentum were
chosen on a fold of another split of the same slices. The last weights count.

Dice by the publication's evaluation: mean over 256 thresholds of the stretched 8-bit map, at the truth's size; and Dice
at 0.5 of the map as it is. Means over the 50 slices; intervals: 95 %, bootstrap over slices, of differences slice by
slice. The slices carry no patient ids, so neighbours may stand on both sides. A run that was killed goes on; one line a
training.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import ceil
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
from common import Scores, bootstrap, dice, finish, header, scored, share_stage, stages
from PIL import Image

import covfast
from covfast import io
from covfast.metrics.saliency import saliency, stretched
from covfast.train import read_recipe
from covfast.train.data import DOCTOR, read_grey
from covfast.train.systems.base import fold_sides
from covfast.train.systems.pictures import Part, Pictures, group_by_size
from covfast.volume import Geometry, Segmentation, Volume

Floats = npt.NDArray[np.float32]

UNET, BARE, INFNET, LONG, SEMI = "unet", "unet, no augmentation", "infnet", "infnet, long", "semi-infnet"
WAYS = (UNET, BARE, INFNET, LONG, SEMI)
PAIRS = ((INFNET, UNET), (INFNET, BARE), (SEMI, INFNET), (SEMI, LONG), (LONG, INFNET))

WINDOW_HU = (-1250.0, 250.0)
"""Of the pictures, which the U-Net takes as volumes in HU; what it is does not matter, all are scaled alike."""

RUN: dict[str, Any] = {"run.interval": 100, "data.licence": "CC-BY-NC-SA-4.0"}
UNET_CHANGES: dict[str, Any] = {
    "data.images": "images",
    "data.labels": "labels",
    "data.windowed": "",
    "data.window_hu": [],
    "split.published": "",
    "model.rank": 2,
    "model.features": [8, 16, 32, 64, 64],
    "model.strides": ["1 1", "2 2", "2 2", "2 2", "2 2"],
    "optimisation.momentum": 0.95,  # 0.99 looks back over a third of these short trainings
    "optimisation.rate": 5e-2,
}
TWICE = 2
"""Slices of a square in its volume: one alone is no volume."""

SPLIT = {"folds": 3, "seed": 0}

NEVER = 10_000
"""Epoch of the rate's decay: none, as in the first half of the published training."""


def labelled_groups(data: Path) -> dict[str, list[str]]:
    """The 50 slices in the groups that folds deal."""
    pictures = Pictures({"image": Part(data / DOCTOR / "Imgs", 3), "mask": Part(data / DOCTOR / "GT")}, None)
    return group_by_size(pictures.names, pictures.sizes(pictures.names))


def write_squares(data: Path, folder: Path, groups: Mapping[str, Sequence[str]], size: int) -> None:
    """`folder/images` and `folder/labels`: each group as a volume of squares, as Inf-Net's recipe resizes them."""
    pictures = Pictures({"image": Part(data / DOCTOR / "Imgs"), "mask": Part(data / DOCTOR / "GT")}, size)
    low, high = WINDOW_HU
    for group, names in groups.items():
        path = folder / "labels" / f"{group}.nii.gz"
        if path.exists():
            continue
        for part in ("images", "labels"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        image, mask = (pictures.stack(key, names).numpy()[:, 0].repeat(TWICE, axis=0) for key in ("image", "mask"))
        hu = low + (high - low) * image
        grid = Geometry.from_spacing(hu.shape, (1.0, 1.0, 1.0))
        io.write(folder / "images" / path.name, Volume(np.rint(hu).astype(np.int16), grid))
        io.write(path, Segmentation((mask > 0.5).astype(np.uint8), grid))


def figures(truth: npt.NDArray[np.bool_], probability: Floats) -> dict[str, float]:
    """Dice of a slice by both definitions, of a map of any size."""
    grey = np.rint(255.0 * stretched(probability.astype(np.float64))).astype(np.uint8)
    whole = np.asarray(Image.fromarray(probability).resize(truth.shape[::-1], Image.Resampling.BILINEAR))
    return {"dice": saliency(truth, grey).curves.mean()["dice"], "dice_at_half": dice(truth, whole > 0.5)}


def unet_maps(weights: Path, volumes: Path, groups: Mapping[str, Sequence[str]], threads: int) -> dict[str, Floats]:
    """Slice -> probability, by the package beside the weights."""
    segmenter = covfast.Segmenter(weights.with_suffix(".covfast"), device="cpu", threads=threads, mirror=False)
    found: dict[str, Floats] = {}
    for group, names in groups.items():
        maps = segmenter(volumes / "images" / f"{group}.nii.gz", probabilities=True).probabilities
        assert maps is not None  # they were asked for
        found.update(zip(names, maps[1, ::TWICE], strict=True))
    return found


def infnet_maps(
    weights: Path, data: Path, table: dict[str, Any], groups: Mapping[str, Sequence[str]]
) -> dict[str, Floats]:
    """Slice -> probability of the whole picture."""
    import torch

    from covfast.models import InfNet
    from covfast.train.loop import read_checkpoint
    from covfast.train.systems.infnet import predict

    module = InfNet(channel=table["model"]["channel"], planes=table["model"]["planes"])
    module.load_state_dict(read_checkpoint(weights))
    pictures = Pictures({"image": Part(data / DOCTOR / "Imgs", 3)}, table["input"]["size"])
    names = [name for group in groups.values() for name in group]
    with torch.inference_mode():
        maps = predict(module.eval(), pictures.stack("image", names), table, torch.device("cpu"))
    return dict(zip(names, maps.numpy()[:, 0], strict=True))


def measure(data: Path, out: Path, maps: Callable[[Path], Mapping[str, Floats]], weights: Path) -> Scores:
    """Figures of each held-out slice."""
    slices = {}
    for name, probability in maps(weights).items():
        slices[name] = figures(read_grey(data / DOCTOR / "GT" / f"{name}.png") > 128, probability)
    return {"slices": slices, "stages": stages(out)}


def settings(way: str, fold: int, options: argparse.Namespace, steps: Mapping[str, int]) -> tuple[str, dict[str, Any]]:
    """Recipe of a way, and the changes of it. steps: of the trainings of this fold that are done, by way."""
    changes = {
        **RUN,
        "run.device": options.device,
        "seed": options.seed,
        "threads": options.threads,
        "optimisation.batch": options.batch,
    }
    changes |= {f"split.{key}": value for key, value in SPLIT.items()} | {"split.fold": fold}
    if way in (UNET, BARE):
        changes |= {**UNET_CHANGES, "patch.size": [options.size] * 2, "augmentation.enabled": way == UNET}
        return "unet", {**changes, "optimisation.epochs": steps[INFNET], "optimisation.iterations": 1}
    epochs = options.epochs + 1  # the code's loop leaves the first one out
    if way == LONG:
        epochs = round(options.epochs * steps[SEMI] / steps[INFNET]) + 1
    changes |= {
        "input.size": options.size,
        "model.planes": options.planes,
        "model.channel": options.channel,
        "optimisation.epochs": epochs,
        "optimisation.rate": options.rate,
        "optimisation.decay_epoch": NEVER,
    }
    changes["run.package"] = False  # it would look for lungs
    if way != SEMI:
        return "infnet", changes
    propagation = {
        "data.unlabelled_count": options.unlabelled,
        "propagation.epochs": options.round_epochs + 1,
        "propagation.rate": options.rate,
        "propagation.batch": options.batch,
    }
    return "semi-infnet", {**changes, **propagation}


def table(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    """Means over slices with intervals by way, and of differences slice by slice. found: way -> slice -> figures."""
    result: dict[str, Any] = {"ways": {}, "differences": {}}

    def mean(values: Sequence[float]) -> dict[str, Any]:
        known = [value for value in values if not np.isnan(value)]
        return {"mean": fmean(known), "ci95": bootstrap(known), "slices": len(known)}

    for way, slices in found.items():
        result["ways"][way] = {key: mean([row[key] for row in slices.values()]) for key in ("dice", "dice_at_half")}
    for way, base in PAIRS:
        if way in found and base in found:
            pairs = [(row, found[base][name]) for name, row in found[way].items() if name in found[base]]
            result["differences"][f"{way} - {base}"] = {
                key: mean([one[key] - other[key] for one, other in pairs]) for key in ("dice", "dice_at_half")
            }
    return result


def print_table(found: Mapping[str, Any]) -> None:
    """Markdown."""
    for kind, sign in (("ways", ""), ("differences", "+")):
        print(f"| {kind} | Dice, mean over thresholds | Dice at 0.5 |\n|---|---|---|")
        for name, row in found[kind].items():
            texts = [
                f"{one['mean']:{sign}.3f} ({one['ci95'][0]:{sign}.3f} to {one['ci95'][1]:{sign}.3f})"
                for one in row.values()
            ]
            print(f"| {name} | {' | '.join(texts)} |")


def rounds_steps(table: Mapping[str, Any], labelled: int) -> int:
    """Optimiser steps of all rounds of the propagation, which the record does not list."""
    given, wanted, size = table["propagation"], table["data"]["unlabelled_count"], table["propagation"]["group"]
    sets = [labelled + min(size * (number + 1), wanted) for number in range(ceil(wanted / size))]
    turns: int = sum(ceil(n / given["batch"]) for n in sets)
    return turns * int(given["epochs"] - 1) * len(table["input"]["scales"])


def check_held_out(out: Path, held: Mapping[str, Sequence[str]]) -> None:
    """A training held out just the slices that judge it. Raises: AssertionError."""
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    names = {name for group in held.values() for name in group}
    for stage in (stage for stage in record["stages"].values() if "splits" in stage):
        expected = set(held) if record["recipe"]["system"] == "unet" else names
        assert set(stage["splits"]["validation"]) == expected, f"{out}: another fold"
        assert not expected & set(stage["splits"]["training"]), f"{out}: trained on what it is judged by"


def one_fold(fold: int, options: argparse.Namespace, groups: Mapping[str, Sequence[str]]) -> dict[str, Scores]:
    """Every way of a fold, in the order of what they need of each other."""
    held = {group: groups[group] for group in fold_sides(list(groups), SPLIT | {"fold": fold})[1]}
    labelled = sum(map(len, groups.values())) - sum(map(len, held.values()))
    volumes = options.runs / f"squares_{options.size}"
    found: dict[str, Scores] = {}
    steps: dict[str, int] = {}
    for way in (INFNET, UNET, BARE, SEMI, LONG):
        start, out = time.perf_counter(), options.runs / f"fold_{fold}" / way.replace(", ", "_").replace(" ", "_")
        recipe, changes = settings(way, fold, options, steps)
        maps: Callable[[Path], Mapping[str, Floats]]
        if recipe == "unet":
            source, maps = volumes, partial(unet_maps, volumes=volumes, groups=held, threads=options.threads)
        else:
            given = read_recipe(recipe, changes)
            source, maps = options.data, partial(infnet_maps, data=options.data, table=given, groups=held)
        if way == SEMI:
            share_stage(out.parent / INFNET, out / "supervised")
        found[way] = scored(recipe, source, out, changes, partial(measure, options.data, out, maps))
        check_held_out(out, held)
        steps[way] = sum(stage["steps"] for stage in found[way]["stages"].values())
        if way == SEMI:
            steps[way] += rounds_steps(given, labelled)
        mean = fmean(row["dice"] for row in found[way]["slices"].values())
        seconds = time.perf_counter() - start
        print(f"fold {fold} {way}: Dice {mean:.3f}, {steps[way]} steps, {seconds:.0f} s", flush=True)
    return {way: {**scores, "steps": steps[way]} for way, scores in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with covid_semiseg")
    parser.add_argument("--runs", type=Path, required=True, help="folder for trainings")
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument(
        "--folds", nargs="+", type=int, choices=range(SPLIT["folds"]), default=list(range(SPLIT["folds"]))
    )
    parser.add_argument("--size", type=int, default=96, help="side of the network's input, a multiple of 32")
    parser.add_argument("--planes", type=int, default=16, help="of Inf-Net's backbone")
    parser.add_argument("--channel", type=int, default=16, help="of Inf-Net's decoder")
    parser.add_argument("--epochs", type=int, default=20, help="of Inf-Net on the labelled slices")
    parser.add_argument("--batch", type=int, default=5)
    parser.add_argument("--rate", type=float, default=3e-4, help="of Adam")
    parser.add_argument("--unlabelled", type=int, default=20, help="slices that are labelled in groups of 5")
    parser.add_argument("--round-epochs", type=int, default=1, help="of each group")
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="of the trainings; larger sizes want cuda")
    options = parser.parse_args()
    start, groups = time.perf_counter(), labelled_groups(options.data)
    write_squares(options.data, options.runs / f"squares_{options.size}", groups, options.size)
    runs = {fold: one_fold(fold, options, groups) for fold in options.folds}
    slices = {way: {n: row for one in runs.values() for n, row in one[way]["slices"].items()} for way in WAYS}
    found = table(slices)
    print_table(found)
    asked = {key: value for key, value in vars(options).items() if key not in ("data", "runs", "out")}
    folds = {str(fold): one for fold, one in runs.items()}
    result = {**header(), "options": asked, "split": SPLIT, "unet": UNET_CHANGES, "table": found, "folds": folds}
    finish(result, start, options.out)


if __name__ == "__main__":
    main()
