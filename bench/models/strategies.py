"""Transfer strategies and relation-driven collaboration against training from scratch, on synthetic lesions.

    python bench/models/strategies.py --runs RUNS [--out bench/results/strategies.json]

The question is that of docs/transfer.md and docs/relation.md: with four annotated cases, do networks of other lesions
help? Nothing here is a patient: `covfast.train.lesions` paints nodules, effusions and masses for the pre-training and
ground glass for the target. Recipes `transfer` and `relation`, with a network, patches and a number of steps that one
core trains: the figures rank these settings and tell nothing of the publications' data.

For each seed: four target cases of its own, weights, order and augmentation by the seed; every way sees the same
cases for the same number of steps. Sources and test cases are the same for all seeds. The four strategies of a seed
share one pre-trained body (their recipes are the same up to there, so each would train the same bits); relation has its
own, pooled. Ways with a pre-training thus learn longer than scratch: `scratch, long` has the steps of both stages.

The test cases lie in a folder that no training is given, and chose nothing: rate, momentum and patches were chosen for
scratch alone, with seed 0 and other cases. Each is labelled by the model package that the training leaves, without
mirroring, on its own grid: Dice, and NSD at 3 mm, less than half a voxel. The last weights count. A run that was killed
goes on; one line a training.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from common import Scores, as_text, finish, header, scored, share_stage, spread, stages

import covfast
from covfast import io
from covfast.metrics import evaluate
from covfast.train.lesions import KINDS, lesion_case
from covfast.volume import Geometry, Segmentation, Volume

TARGET = "ground glass"
SOURCES = tuple(kind for kind in KINDS if kind != TARGET)
STRATEGIES = ("continual", "body_finetune", "lesion_representations", "hybrid")
SCRATCH, LONG, RELATION = "scratch", "scratch, long", "relation"
WAYS = (SCRATCH, LONG, *STRATEGIES, RELATION)

SHAPE = (40, 60, 60)
TRAINING_CASES = 4
TARGET_SEEDS, TEST_SEEDS = 1000, 5000
"""First seeds of the cases; the sources begin at 0."""

TOLERANCE_MM = 3.0

NETWORK: dict[str, Any] = {
    "model.features": [8, 16, 32, 64],
    "model.strides": ["1 1 1", "2 2 2", "2 2 2", "2 2 2"],
    "patch.size": [16, 32, 32],
    "patch.foreground": 0.5,
    "data.spacing_mm": [8.0, 6.0, 6.0],  # as the cases' own, but for their 8 %
    "data.windowed": "",
    "data.licence": "Apache-2.0",
    "split.published": "",
    "split.folds": 1,
    "optimisation.iterations": 10,
    "optimisation.momentum": 0.9,  # 0.99 looks back over a fifth of these short trainings
    "optimisation.rate": 0.1,
    "pretraining.rate": 0.1,
    "run.device": "cpu",
    "run.interval": 100,
}
RAMP = 0.03
"""Of the epochs: the relation loss reaches its full weight there, as 30 epochs of the recipe's 1000."""


BODY_RATE = 0.1
"""Of `body_finetune`: at 1 it would be `continual`, which has no head to take over from a body of several heads."""


def write_cases(folder: Path, kind: str, seeds: Sequence[int]) -> None:
    """`folder/images` and `folder/labels` with a case of a kind for each seed; files that are there stay."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        name = f"{kind.replace(' ', '_')}_s{seed}.nii.gz"
        if (folder / "labels" / name).exists():
            continue
        case = lesion_case(kind, seed, SHAPE)
        grid = Geometry.from_spacing(case.hu.shape, case.spacing_mm)
        io.write(folder / "images" / name, Volume(case.hu, grid))
        io.write(folder / "labels" / name, Segmentation(case.mask, grid))


def write_data(data: Path, options: argparse.Namespace) -> None:
    """All cases: `sources/KIND`, `target_SEED` and, beside what trainings are given, `test`."""
    for kind in SOURCES:
        write_cases(data / "sources" / kind, kind, range(options.sources))
    for seed in options.seeds:
        first = TARGET_SEEDS + TRAINING_CASES * seed
        write_cases(data / f"target_{seed}", TARGET, range(first, first + TRAINING_CASES))
    write_cases(data / "test", TARGET, range(TEST_SEEDS, TEST_SEEDS + options.tests))


def settings(way: str, seed: int, options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Recipe of a way, and the changes of it."""
    places = {part: {kind: f"sources/{kind}/{part}" for kind in SOURCES} for part in ("images", "labels")}
    epochs = options.epochs + (options.pretraining_epochs if way == LONG else 0)
    changes = {
        **NETWORK,
        "seed": seed,
        "threads": options.threads,
        "data.images": f"target_{seed}/images",
        "data.labels": f"target_{seed}/labels",
        "sources.images": places["images"],
        "sources.labels": places["labels"],
        "sources.published": {},
        "pretraining.epochs": options.pretraining_epochs,
        "optimisation.epochs": epochs,
    }
    if way == RELATION:
        return "relation", {**changes, "relation.ramp_epochs": RAMP * options.epochs}
    rate = {"strategy.body_rate": BODY_RATE} if way == "body_finetune" else {}
    return "transfer", {**changes, **rate, "strategy.name": SCRATCH if way == LONG else way}


def measure(test: Path, out: Path, threads: int, weights: Path) -> Scores:
    """Dice and NSD of each test case, labelled by the package beside the weights."""
    segmenter = covfast.Segmenter(weights.with_suffix(".covfast"), device="cpu", threads=threads, mirror=False)
    scores: Scores = {"dice": {}, "nsd": {}}
    for path in sorted((test / "images").iterdir()):
        truth = io.read_labels(test / "labels" / path.name)
        found = segmenter(path)
        report = evaluate(
            truth.labels > 0, found.labels > 0, truth.geometry.spacing_mm, tolerance_mm=TOLERANCE_MM, threads=threads
        )["mask"]
        name = path.name.split(".")[0]
        scores["dice"][name], scores["nsd"][name] = report.dice, report.nsd
    return {**scores, "stages": stages(out)}


def table(runs: Mapping[str, Mapping[int, Scores]]) -> dict[str, Any]:
    """Mean over cases by way and seed, mean and SD over seeds, and the difference from scratch seed by seed."""
    result: dict[str, Any] = {}
    for way, rows in runs.items():
        seconds = [sum(stage["seconds"] for stage in row["stages"].values()) for row in rows.values()]
        result[way] = {"training_seconds": spread(seconds)}
        for figure in ("dice", "nsd"):
            means = {seed: fmean(row[figure].values()) for seed, row in rows.items()}
            result[way][figure] = spread(list(means.values()))
            base = {seed: fmean(row[figure].values()) for seed, row in runs.get(SCRATCH, {}).items()}
            pairs = [mean - base[seed] for seed, mean in means.items() if seed in base]
            if way != SCRATCH and pairs:
                result[way][f"{figure}_minus_scratch"] = spread(pairs)
    return result


def print_table(found: Mapping[str, Any]) -> None:
    """Markdown."""
    print("| way | Dice by seed | Dice | from scratch | NSD | training, s |\n|---|---|---|---|---|---|")
    for way, row in found.items():
        seeds = " ".join(f"{value:.3f}" for value in row["dice"]["values"])
        change = as_text(row["dice_minus_scratch"], "+") if "dice_minus_scratch" in row else ""
        seconds = row["training_seconds"]["mean"]
        print(f"| {way} | {seeds} | {as_text(row['dice'])} | {change} | {as_text(row['nsd'])} | {seconds:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder for cases and trainings")
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=50, help="of 10 steps, of the target")
    parser.add_argument("--pretraining-epochs", type=int, default=50, help="of 10 steps")
    parser.add_argument("--sources", type=int, default=10, help="cases of each source")
    parser.add_argument("--tests", type=int, default=10, help="test cases")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    start, data = time.perf_counter(), options.runs / "data"
    write_data(data, options)
    runs: dict[str, dict[int, Scores]] = {way: {} for way in options.ways}
    for seed in options.seeds:
        for way in options.ways:
            out = options.runs / f"seed_{seed}" / way.replace(", ", "_")
            out.mkdir(parents=True, exist_ok=True)
            if way in STRATEGIES:
                first = next(name for name in options.ways if name in STRATEGIES)
                share_stage(out.parent / first / "pretraining", out / "pretraining")
            recipe, changes = settings(way, seed, options)
            runs[way][seed] = scored(recipe, data, out, changes, partial(measure, data / "test", out, options.threads))
            mean = fmean(runs[way][seed]["dice"].values())
            print(f"seed {seed} {way}: Dice {mean:.3f} after {time.perf_counter() - start:.0f} s", flush=True)
    found = table(runs)
    print_table(found)
    asked = {key: value for key, value in vars(options).items() if key not in ("runs", "out")}
    network = {**NETWORK, "relation.ramp_epochs": RAMP * options.epochs, "body_finetune.body_rate": BODY_RATE}
    cases = {way: {str(seed): row for seed, row in rows.items()} for way, rows in runs.items()}
    result = {**header(), "options": asked, "changes": network, "shape": SHAPE, "table": found, "runs": cases}
    finish(result, start, options.out)


if __name__ == "__main__":
    main()
