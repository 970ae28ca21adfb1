"""What the scripts here share: Dice, intervals, the record of a result, and trainings that are carried out once."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import timing

from covfast.outputs import replace_text
from covfast.train import read_recipe, train
from covfast.train.publish import recipe_digest

Mask = npt.NDArray[np.bool_]
Scores = dict[str, Any]

SCORES = "scores.json"
"""In the folder of a training: what was measured of its weights, and the digest of its recipe."""


def dice(truth: Mask, mask: Mask) -> float:
    """2 |A and B| / (|A| + |B|); NaN if both are empty."""
    total = int(truth.sum()) + int(mask.sum())
    return 2.0 * int((truth & mask).sum()) / total if total else float("nan")


def bootstrap(values: Sequence[float], seed: int = 0, draws: int = 10000) -> list[float]:
    """95 % interval of the mean over resampled images."""
    array = np.asarray(values)
    picks = np.random.default_rng(seed).integers(0, len(array), (draws, len(array)))
    return [float(v) for v in np.percentile(array[picks].mean(1), [2.5, 97.5])]


def pooled_draws(counts: npt.ArrayLike, seed: int = 0, draws: int = 10000) -> npt.NDArray[np.int64]:
    """(draws, ...) sums of counts (N, ...) over N rows, images or groups of them, drawn with replacement."""
    rows = np.asarray(counts, np.int64)
    picks = np.random.default_rng(seed).integers(0, len(rows), (draws, len(rows)))
    return np.asarray([rows[pick].sum(0) for pick in picks])


def interval(values: npt.NDArray[np.float64]) -> list[float]:
    """95 % of a figure's draws; those in which it is not defined (0 / 0) are left out."""
    return [float(v) for v in np.nanpercentile(values, [2.5, 97.5])]


def pooled_dice(truths: Sequence[Mask], masks: Sequence[Mask]) -> dict[str, Any]:
    """Dice of the voxels of all slices, and its interval over resampled slices."""
    both = [int((t & m).sum()) for t, m in zip(truths, masks, strict=True)]
    total = [int(t.sum()) + int(m.sum()) for t, m in zip(truths, masks, strict=True)]
    drawn = pooled_draws(np.stack([both, total], 1))
    with np.errstate(invalid="ignore"):
        values = 2.0 * drawn[:, 0] / drawn[:, 1]
    found = 2.0 * sum(both) / sum(total) if sum(total) else float("nan")
    return {"dice_pooled": found, "dice_pooled_ci95": interval(values)}


def header() -> dict[str, Any]:
    """The first entries of a result: machine, versions, commit and date."""
    return {"schema_version": 1, "machine": timing.machine()}


def finish(result: dict[str, Any], start: float, out: Path | None) -> None:
    """Print a result as JSON, and write it where a file is named; `start` is of `time.perf_counter`."""
    text = json.dumps({**result, "seconds": time.perf_counter() - start}, indent=2)
    if out:
        out.write_text(text + "\n", encoding="utf-8")
    print(text)


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Values with their mean and standard deviation (n - 1; none of a single value)."""
    return {"values": list(values), "mean": fmean(values), "sd": stdev(values) if len(values) > 1 else None}


def as_text(found: Mapping[str, Any], sign: str = "") -> str:
    """`mean +- SD` of a `spread`, three digits; sign "+" writes it in any case."""
    deviation = "" if found["sd"] is None else f" ± {found['sd']:.3f}"
    return f"{found['mean']:{sign}.3f}{deviation}"


def scored(recipe: str, data: Path, out: Path, changes: Mapping[str, Any], measure: Callable[[Path], Scores]) -> Scores:
    """What `measure` finds of the weights of a training; one that was measured before is only read.

    Args:
        recipe, data, out: As of `covfast.train.train`. A training that was killed goes on.
        changes: Of the recipe.
        measure: Weights -> figures for JSON.

    Raises:
        ValueRangeError: `out` holds a training of another recipe.
    """
    path, digest = out / SCORES, recipe_digest(read_recipe(recipe, changes))
    held = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if held.get("recipe_sha256") != digest:
        weights = train(recipe, data, out, changes)
        held = {"recipe_sha256": digest, **measure(weights)}
        replace_text(path, json.dumps(held, indent=1) + "\n")
    return held


def stages(out: Path) -> dict[str, dict[str, Any]]:
    """Steps and seconds of each stage of a training; of Semi-Inf-Net's rounds the record has none."""
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    kept = {name: {key: stage.get(key) for key in ("steps", "seconds")} for name, stage in record["stages"].items()}
    return {name: stage for name, stage in kept.items() if stage["steps"] is not None}


def share_stage(source: Path, target: Path) -> None:
    """Give a training the finished stage of another one whose recipe is the same up to its end.

    The stage would train to the same bits; with its checkpoint in place it is only read. A stage that has begun stays.
    """
    if source == target or not (source / "checkpoint.pt").exists() or target.exists():
        return
    copy = target.with_name(target.name + ".copy")
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    for name in ("checkpoint.pt", "log.csv"):
        shutil.copyfile(source / name, copy / name)
    copy.rename(target)
