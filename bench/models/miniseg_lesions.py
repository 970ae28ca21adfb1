"""Ground glass and consolidation apart: the miniseg-ggo weights of a cross-validation on the slices each fold held out.

    covfast train miniseg-ggo --data DATA -o RUNS --fold all
    python bench/models/miniseg_lesions.py --data DATA --runs RUNS \
        [--cache slices.npz] [--out bench/results/miniseg_lesions.json] [--pictures FOLDER]

Each of the 50 slices of COVID-SemiSeg is judged by the network of the fold that held it out (`RUNS/fold_N`; folds that
are missing are left out, and said). For each class the figures of Inf-Net's evaluation: mean Dice over 256 thresholds
of the class's probability, sensitivity, specificity, S- and E-measure, MAE, over all slices, as published, and over the
slices that have the class (an absent class counts 0 by the published rule). Beside them Dice of the labels (largest
probability). "types_given_lesion" is what `covfast segment --lesion-types` asks: which pixels of the experts' lesions
are consolidation; beside the network a threshold of the grey alone, the best one of the fold's training slices. Of the
volumes that no fold saw: Dice of any lesion, p_1 + p_2 above 0.5 inside the experts' lungs.
Intervals: 95 %, bootstrap over slices; of "types_given_lesion" over the groups that the folds are drawn from, slices of
one picture size, each figure computed anew from the pixels of every draw. "network_minus_grey" draws both alike. The
networks and the threshold of the grey stay as they are: what another training set would change is not in them.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from common import bootstrap, dice, finish, header, interval, pooled_dice, pooled_draws
from PIL import Image
from torch.nn.functional import interpolate

import covfast
from covfast.metrics.saliency import saliency
from covfast.train.data import DOCTOR, read_grey, read_slices
from covfast.train.recipe import read_recipe, with_fold
from covfast.train.systems.base import fold_sides
from covfast.train.systems.infnet_multiclass import VALUES
from covfast.train.systems.miniseg_lesions import CLASSES

Bools = npt.NDArray[np.bool_]
Judged = tuple[str, Bools, Bools]
"""Group of a slice, and of the pixels of the experts' lesions: is it consolidation, was it called so."""

CLASS_NAMES = ("ground glass", "consolidation")
FIGURES = ("dice", "sensitivity", "specificity", "e_measure")
COLOURS = ((0, 0, 0), (255, 160, 0), (200, 0, 255))


class Network:
    """Probabilities, (3, H, W) float32, of a (H, W) uint8 slice of the recipe's window."""

    def __init__(self, weights: Path, table: dict[str, Any]) -> None:
        self.module, self.given = covfast.import_checkpoint(weights).module.eval(), table["input"]

    def __call__(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        size = self.given["size"]
        square = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR), dtype=np.float32)
        x = torch.from_numpy((square / 255.0 - self.given["mean"]) / self.given["std"]).expand(1, 3, size, size)
        with torch.inference_mode():
            p = interpolate(self.module(x.contiguous()).softmax(1), size=image.shape, mode="bilinear")
        return p[0].clamp(0.0, 1.0).numpy()


def slice_figures(labels: npt.NDArray[np.uint8], p: npt.NDArray[np.float32]) -> dict[str, dict[str, float]]:
    """Figures of one slice, for each class."""
    found, rows = p.argmax(0), {}
    for value, name in enumerate(CLASS_NAMES, 1):
        figures = saliency(labels == value, p[value])
        mean = figures.curves.mean()
        rows[name] = {
            **{key: mean[key] for key in FIGURES},
            "s_measure": figures.s_measure,
            "mae": figures.mae,
            "dice_of_labels": dice(labels == value, found == value),
            "is_present": float(np.any(labels == value)),
        }
    return rows


def summary(rows: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Means over slices, with intervals of the two Dice."""
    result: dict[str, Any] = {"slices": len(rows)}
    for key in (*FIGURES, "s_measure", "mae"):
        result[key] = float(np.mean([row[key] for row in rows]))
    result["dice_ci95"] = bootstrap([row["dice"] for row in rows])
    by_labels = [row["dice_of_labels"] for row in rows if not np.isnan(row["dice_of_labels"])]
    result["dice_of_labels"], result["dice_of_labels_ci95"] = float(np.mean(by_labels)), bootstrap(by_labels)
    result["dice_of_labels_slices"] = len(by_labels)
    return result


def drawn(image: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], p: npt.NDArray[np.float32]) -> Image.Image:
    """The slice, the experts' classes and the network's, side by side: orange ground glass, violet consolidation."""
    grey = np.stack([image] * 3, -1).astype(np.float32)
    panels = [grey]
    for found in (labels, p.argmax(0)):
        colour = np.array(COLOURS, np.float32)[found]
        panels.append(np.where((found > 0)[..., None], 0.5 * grey + 0.5 * colour, grey))
    return Image.fromarray(np.hstack(panels).astype(np.uint8))


def expert_slices(data: Path) -> dict[str, tuple[str, npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]:
    """Name -> (group, slice, labels 0 to 2) of the 50 slices."""
    found = {}
    for path in sorted((data / DOCTOR / "Imgs").glob("*.jpg")):
        image, grey = read_grey(path), read_grey(data / CLASSES / "GT" / f"{path.stem}.png")
        labels = ((grey == VALUES[1]) + 2 * (grey == VALUES[2])).astype(np.uint8)
        found[path.stem] = (f"doctor_{image.shape[0]}x{image.shape[1]}", image, labels)
    return found


def type_counts(slices: Sequence[Judged]) -> npt.NDArray[np.int64]:
    """(groups, 2, 2) pixels of each group: is consolidation, was called so."""
    counts: dict[str, npt.NDArray[np.int64]] = defaultdict(lambda: np.zeros((2, 2), np.int64))
    for group, truth, found in slices:
        counts[group] += np.bincount(2 * truth + found, minlength=4).reshape(2, 2)
    return np.stack(list(counts.values()))


def type_figures(counts: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.float64]]:
    """Accuracy and Dice of both types of pixels counted (..., 2, 2)."""
    right, wrong = counts[..., [0, 1], [0, 1]], counts[..., 0, 1] + counts[..., 1, 0]
    with np.errstate(invalid="ignore"):
        dices = 2.0 * right / (2.0 * right + wrong[..., None])
        accuracy = right.sum(-1) / counts.sum((-2, -1))
    return {"accuracy": accuracy, "dice_ground_glass": dices[..., 0], "dice_consolidation": dices[..., 1]}


def types_given_lesion(slices: Sequence[Judged]) -> dict[str, Any]:
    """Figures of the pixels of the experts' lesions, pooled over slices, with intervals over groups."""
    counts = type_counts(slices)
    pixels, drawn = counts.sum(0), type_figures(pooled_draws(counts))
    result = {"pixels": int(pixels.sum()), "consolidation_percent": 100.0 * float(pixels[1].sum() / pixels.sum())}
    result["groups"] = len(counts)
    for key, value in type_figures(pixels).items():
        result[key], result[f"{key}_ci95"] = float(value), interval(drawn[key])
    return result


def advantage(network: Sequence[Judged], grey: Sequence[Judged]) -> dict[str, Any]:
    """How much greater the network's figures are, with intervals over groups, drawn alike on both sides."""
    sides = [type_counts(slices) for slices in (network, grey)]
    found, by_grey = (type_figures(counts.sum(0)) for counts in sides)
    drawn, drawn_by_grey = (type_figures(pooled_draws(counts)) for counts in sides)
    result: dict[str, Any] = {}
    for key in found:
        result[key] = float(found[key] - by_grey[key])
        result[f"{key}_ci95"] = interval(drawn[key] - drawn_by_grey[key])
    return result


def brightest_is_consolidation(slices: Sequence[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]) -> int:
    """The grey from which on pixels of lesions are called consolidation for the greatest pooled Dice of it."""
    greys = np.concatenate([image[labels > 0] for image, labels in slices])
    truth = np.concatenate([labels[labels > 0] == 2 for _, labels in slices])
    return max(range(256), key=lambda grey: dice(truth, greys >= grey))


def any_lesion_dice(data: Path, cache: Path | None, held_out: list[str], nets: Sequence[Network]) -> dict[str, Any]:
    """Dice of any lesion in the volumes that no fold saw, the folds' probabilities averaged."""
    slices = read_slices(data, cache)
    result = {}
    for case in held_out:
        rows = [k for k, kind in enumerate(slices.kinds) if kind == "aligned" and slices.cases[k] == case]
        truths = np.stack([(slices.masks[k] >= 128) & (slices.lungs[k] >= 128) for k in rows])
        p = np.stack([np.mean([1.0 - net(slices.images[k])[0] for net in nets], axis=0) for k in rows])
        found = (p > 0.5) & (slices.lungs[rows] >= 128)
        dices = [dice(t, m) for t, m in zip(truths, found, strict=True) if t.any()]
        result[case] = {
            "slices": len(rows),
            "slices_infected": len(dices),
            "dice_slice_mean": float(np.mean(dices)),
            "dice_slice_mean_ci95": bootstrap(dices),
            **pooled_dice(truths, found),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True, help="folder with fold_0, fold_1 and so on")
    parser.add_argument("--recipe", default="miniseg-ggo")
    parser.add_argument("--size", type=int, help="of the network's input, where a run changed it")
    parser.add_argument("--cache", type=Path, help="slices.npz of a run")
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--pictures", type=Path, help="folder for overlays of restricted data; never commit them")
    options = parser.parse_args()
    table = read_recipe(options.recipe, {"input.size": options.size} if options.size else None)
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
    start, slices = time.perf_counter(), expert_slices(options.data)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in CLASS_NAMES}
    nets, hashes, missing = [], {}, []
    given: dict[str, dict[int, list[Judged]]] = {"network": {}, "grey": {}}
    for fold in range(table["split"]["folds"]):
        weights = options.runs / f"fold_{fold}" / f"{table['name']}.pt"
        if not weights.exists():
            missing.append(fold)
            continue
        hashes[f"fold_{fold}"] = hashlib.sha256(weights.read_bytes()).hexdigest()
        nets.append(Network(weights, table))
        given["network"][fold], given["grey"][fold] = [], []
        groups = fold_sides([group for group, _, _ in slices.values()], with_fold(table, fold)["split"])[1]
        taught = [(image, labels) for group, image, labels in slices.values() if group not in groups]
        grey = brightest_is_consolidation(taught)
        for name, (group, image, labels) in slices.items():
            if group in groups:
                p, lesion = nets[-1](image), labels > 0
                given["network"][fold].append((group, labels[lesion] == 2, (p[2] > p[1])[lesion]))
                given["grey"][fold].append((group, labels[lesion] == 2, image[lesion] >= grey))
                for key, row in slice_figures(labels, p).items():
                    rows[key].append(row)
                if options.pictures:
                    drawn(image, labels, p).save(options.pictures / f"fold_{fold}_{name}.png")
    pooled = {name: [*chain(*found.values())] for name, found in given.items()}
    result = {
        **header(),
        "weights_sha256": hashes,
        "folds_missing": missing,
        "input_size": table["input"]["size"],
        "split": table["split"],
        "seed": table["seed"],
        "all": {name: summary(found) for name, found in rows.items()},
        "with_the_class": {name: summary([r for r in found if r["is_present"]]) for name, found in rows.items()},
        "types_given_lesion": {
            **{name: types_given_lesion(found) for name, found in pooled.items()},
            "network_minus_grey": advantage(**pooled),
        },
        "types_given_lesion_by_fold": {
            name: {fold: types_given_lesion(found) for fold, found in folds.items()} for name, folds in given.items()
        },
        "any_lesion": any_lesion_dice(options.data, options.cache, table["split"]["held_out"], nets),
    }
    finish(result, start, options.out)


if __name__ == "__main__":
    main()
