"""Dice of the miniseg-infection weights on slices that their trainings never saw.

    covfast train miniseg-infection --data DATA -o RUN
    covfast train miniseg-infection --data DATA -o RUNS --set split.folds=5 --fold all
    python bench/models/miniseg_infection.py --data DATA --model RUN/miniseg-infection.covfast --folds RUNS \
        --out bench/results/miniseg_infection.json [--pictures FOLDER]

The first stage, without doctor slices, is the same of all these trainings: a finished one, copied to
`RUNS/fold_N/base`, is only read.

Three kinds of slices: "doctor" (COVID-SemiSeg, a radiologist's masks), "aligned" (natural contrast with the experts'
masks of COVID-19-CT-Seg) and "png" (the same volumes, equalised). `--model` saw all doctor slices: it judges the
held-out volumes of the other two kinds. Each doctor slice is judged by the network of the fold that held it out,
trained by the same recipe (`RUNS/fold_N`); slices of folds that are not there are left out.
Where the experts' lungs are known the prediction is restricted to them, as the pipeline does with its own.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from common import Mask, bootstrap, dice, finish, header
from PIL import Image

import covfast
from covfast.train.data import Row, aligned_slices, doctor_slices, png_slices
from covfast.train.recipe import read_recipe
from covfast.train.record import read_record

Float = npt.NDArray[np.float32]
Predict = Callable[[npt.NDArray[np.uint8]], Float]


def network(model: Path, engine: str, table: dict) -> Predict:
    """Probability of infection, (H, W) float32, of a (H, W) uint8 slice of the recipe's window."""
    size, mean, std = table["input"]["size"], table["input"]["mean"], table["input"]["std"]
    if model.suffix == ".pt":
        import torch

        module = covfast.import_checkpoint(model).module.eval()

        def logits(x: Float) -> Float:
            with torch.inference_mode():
                return module(torch.from_numpy(x)).numpy()
    else:
        logits = covfast.load(model, engine=engine, device="cpu")

    def predict(image: npt.NDArray[np.uint8]) -> Float:
        square = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR), dtype=np.float32)
        x = np.broadcast_to((square / 255.0 - mean) / std, (1, 3, size, size)).astype(np.float32)
        y = logits(np.ascontiguousarray(x))[0]
        small = 1.0 / (1.0 + np.exp(y[0] - y[1]))
        whole = Image.fromarray(small.astype(np.float32)).resize(image.shape[::-1], Image.Resampling.BILINEAR)
        return np.asarray(whole, dtype=np.float32)

    return predict


def threshold_dice(truth: Mask, probability: Float) -> npt.NDArray[np.float64]:
    """Dice of one image at the 256 thresholds 1, 254/255 .. 0 of Inf-Net's evaluation.

    The map is rounded to 8 bits and min-max normalised; a threshold with no true positive counts 0.
    """
    grey = np.rint(probability * 255.0)
    low, high = grey.min(), grey.max()
    level = (grey - low) / (high - low) if high > low else np.zeros_like(grey)
    # A mask is level >= t: bin k holds the levels first reached at threshold 1 - k / 255.
    thresholds = 1.0 - np.arange(256) / 255.0
    bins = np.searchsorted(-thresholds, -level.ravel() - 1e-9)
    true = np.bincount(bins, weights=truth.ravel(), minlength=257)[:256].cumsum()
    found = np.bincount(bins, minlength=257)[:256].cumsum()
    return np.asarray(2.0 * true / (found + truth.sum()))


def summary(rows: Sequence[Row], judge: Callable[[Row], Predict], threshold: float, pictures: Path | None) -> dict:
    """Figures of a set of slices."""
    dices, curves, masks, clean = [], [], [], []
    for row in rows:
        image, truth8, lungs8, case, kind, name = row
        truth, lungs = truth8 >= 128, lungs8 >= 128
        probability = np.where(lungs, judge(row)(image), 0.0).astype(np.float32)
        mask = probability >= threshold
        truth &= lungs
        masks.append((truth, mask))
        if truth.any():
            dices.append(dice(truth, mask))
            curves.append(threshold_dice(truth, probability))
        else:
            clean.append(float(mask.mean()))
        if pictures is not None:
            picture(image, truth, mask).save(pictures / f"{kind}_{case}_{name}.png")
    curve = np.mean(curves, axis=0)
    both = sum(int((t & m).sum()) for t, m in masks)
    total = sum(int(t.sum()) + int(m.sum()) for t, m in masks)
    return {
        "slices": len(rows),
        "slices_infected": len(dices),
        "dice_slice_mean": float(np.mean(dices)),
        "dice_slice_mean_ci95": bootstrap(dices),
        "dice_pooled": 2.0 * both / total,
        "dice_mean_over_thresholds": float(curve.mean()),
        "dice_mean_over_thresholds_ci95": bootstrap([float(one.mean()) for one in curves]),
        "dice_max_over_thresholds": float(curve.max()),
        "clean_slices_painted_percent_mean": 100.0 * float(np.mean(clean)) if clean else None,
        "infected_truth_pixels": sum(int(t.sum()) for t, _ in masks),
        "infected_found_pixels": sum(int(m.sum()) for _, m in masks),
    }


def picture(image: npt.NDArray[np.uint8], truth: Mask, mask: Mask) -> Image.Image:
    """The slice with the truth outlined in green and the prediction in red."""
    canvas = np.stack([image] * 3, -1)
    for region, colour in ((truth, (0, 255, 0)), (mask, (255, 0, 0))):
        inner = region.copy()
        for axis in (0, 1):
            for way in (1, -1):
                inner &= np.roll(region, way, axis)
        canvas[region & ~inner] = colour
    return Image.fromarray(canvas)


def fold_networks(options: argparse.Namespace, table: dict) -> tuple[dict[str, Predict], dict]:
    """(group of doctor slices -> network that never saw it, what each fold is), as the folds' own records say.

    Raises:
        SystemExit: A fold is of another recipe, or one of its stages drew what it holds out.
    """
    found: dict[str, Predict] = {}
    folds = {}
    for package in sorted(options.folds.glob(f"fold_*/{table['name']}.covfast")) if options.folds else ():
        folder, record = package.parent, read_record(package.parent / "run.json")
        if any(
            record["recipe"][part] != table[part] for part in ("input", "optimisation", "refinement", "augmentation")
        ):
            raise SystemExit(f"{folder.name} is of another recipe than {table['name']}")
        held = [case for case in record["stages"]["refinement"]["splits"]["validation"] if case.startswith("doctor")]
        if any(set(held) & set(stage["splits"]["training"]) for stage in record["stages"].values()):
            raise SystemExit(f"{folder.name} trained on slices that it would judge")
        folds[folder.name] = {"sha256": sha256(package), "split": record["recipe"]["split"], "held_out": held}
        found |= dict.fromkeys(held, network(package, options.engine, table))
    return found, folds


def sha256(path: Path) -> str:
    """Of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def healthy(data: Path, model: Path) -> dict:
    """Infection that the whole pipeline paints into the healthy lung of elastix_lung, in percent of the lung."""
    result = covfast.Segmenter(model, device="cpu")(data / "volumes" / "elastix_lung" / "3DCT_lung.mha")
    lung = int((result.lungs > 0).sum())
    return {"volume": "elastix_lung", "painted_percent_of_lung": 100.0 * int((result.labels == 3).sum()) / lung}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True, help=".covfast package, or .pt state dict run by torch")
    parser.add_argument("--folds", type=Path, help="folder with fold_0, fold_1 and so on")
    parser.add_argument("--engine", default="native")
    parser.add_argument("--recipe", default="miniseg-infection")
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--pictures", type=Path, help="folder for overlays of restricted data; never commit them")
    options = parser.parse_args()
    table = read_recipe(options.recipe)
    predict = network(options.model, options.engine, table)
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
    start, out = time.perf_counter(), table["split"]["held_out"]
    by_group, folds = fold_networks(options, table)
    rows = [row for row in doctor_slices(options.data) if row[3] in by_group]
    rows += [row for row in (*aligned_slices(options.data), *png_slices(options.data)) if row[3] in out]

    def judge(row: Row) -> Predict:
        return by_group[row[3]] if row[4] == "doctor" else predict

    result = {
        **header(),
        "model": options.model.name,
        "model_sha256": sha256(options.model),
        "folds": folds,
        "engine": "torch" if options.model.suffix == ".pt" else options.engine,
        "threshold": options.threshold,
        "split": table["split"],
        "seed": table["seed"],
    }
    for kind in ("doctor", "aligned", "png"):
        for case in ["all", *sorted({r[3] for r in rows if r[4] == kind and kind != "doctor"})]:
            chosen = [r for r in rows if r[4] == kind and case in ("all", r[3])]
            pictures = options.pictures if case == "all" else None
            if chosen:
                result[f"{kind}/{case}"] = summary(chosen, judge, options.threshold, pictures)
    if options.model.suffix != ".pt":
        result["healthy"] = healthy(options.data, options.model)
    finish(result, start, options.out)


if __name__ == "__main__":
    main()
