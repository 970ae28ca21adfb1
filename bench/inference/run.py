"""Times whole networks by covfast's native engine and its peers, alternately; checks what they answer first.

    python bench/inference/run.py [--networks miniseg unet3d unet2d lungmask infnet] [--competitors openvino_:fp32 ...]
                                  [--threads 2] [--runs 9] [--seconds 0.5] [--small] [--folder DIR] [--name inference]

Every competitor runs in a process of its own that waits for its turns. First each answers the same input: those of
float32 must give torch's numbers to 2e-3 of their range, of the others the difference is shown. Then they take turns:
in each round everyone runs for about --seconds, after a run that does not count. The median is of the rounds' medians;
"x covfast" is the median over the rounds of the quotient with covfast's fp32 in the same round. A competitor that
cannot run is named and left out:

    pip install torch onnx onnxscript onnxruntime openvino nncf dynamic_network_architectures lungmask

`--folder` keeps the model files, so that they are made once. Prints tables and writes bench/results/NAME.json.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import covfast_native
import networks
import numpy as np
import onnx_file
import timing
from worker import THREAD_VARIABLES, Worker

REFERENCE, MINE = "torch_eager:fp32", "covfast_native:fp32"
COMPETITORS = (
    REFERENCE,
    "torch_channels_last:fp32",
    "onnx_runtime:fp32",
    "openvino_:fp32",
    "openvino_:bf16",
    "openvino_:int8",
    *(f"covfast_native:{kind}" for kind in covfast_native.KINDS),
)
TOLERANCE = 2e-3  # of the output's range, for competitors of float32
_PAUSE_S = 0.05  # in which the last competitor's threads stop spinning


def write_models(name: str, folder: Path, is_small: bool) -> None:
    """The files that competitors open."""
    covfast_native.write(name, folder)
    onnx_file.write(name, folder, is_small)


def start(name: str, options: argparse.Namespace, folder: Path) -> tuple[dict[str, Worker], dict[str, str]]:
    """The competitors that can run, and why the others cannot."""
    found, missing = {}, {}
    for competitor in options.competitors:
        try:
            found[competitor] = Worker(competitor, name, options.threads, folder, options.small)
        except RuntimeError as error:
            missing[competitor] = str(error)
            print(f"left out: {competitor}: {error}")
    return found, missing


def check(workers: dict[str, Worker], folder: Path) -> dict[str, Any]:
    """Everyone's largest difference from torch, with the range of torch's output."""
    rows: dict[str, Any] = {}
    expected = None
    for competitor, worker in workers.items():
        path = folder / "output.npy"
        worker.ask(output=str(path))
        got = np.load(path)
        expected = got if expected is None else expected
        if got.shape != expected.shape:
            raise SystemExit(f"{competitor} answers with shape {got.shape}, torch with {expected.shape}")
        span, difference = float(np.ptp(expected)), float(np.abs(got - expected).max())
        if competitor.endswith(("fp32", "exact")) and not difference <= TOLERANCE * span:
            raise SystemExit(f"{competitor} differs from torch by {difference} in a range of {span}")
        rows[competitor] = {**worker.facts, "largest_difference": difference, "of_range": difference / span}
    return rows


def take_turns(workers: dict[str, Worker], runs: int, seconds: float) -> dict[str, list[list[float]]]:
    """Milliseconds of every run, by competitor and round."""
    times: dict[str, list[list[float]]] = {competitor: [] for competitor in workers}
    for _ in range(runs):
        for competitor, worker in workers.items():
            time.sleep(_PAUSE_S)
            times[competitor].append(worker.ask(seconds=seconds))
    return times


def figures(times: dict[str, list[list[float]]], gflop: float) -> dict[str, Any]:
    """Median, least, most and speed of each competitor, and how it stands to covfast."""
    medians = {competitor: [statistics.median(turn) for turn in turns] for competitor, turns in times.items()}
    rows: dict[str, Any] = {}
    for competitor, turns in times.items():
        wall = timing.spread(medians[competitor]) | {"min": min(map(min, turns)), "max": max(map(max, turns))}
        rows[competitor] = {"wall_ms": {**wall, "counted": sum(map(len, turns))}, "rounds_ms": medians[competitor]}
        rows[competitor]["gflop_per_s"] = gflop / wall["median"] * 1e3
        if MINE in medians:
            quotients = [a / b for a, b in zip(medians[competitor], medians[MINE], strict=True)]
            rows[competitor]["times_covfast"] = timing.spread(quotients)
    return rows


def measure(name: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One network by all competitors."""
    network = networks.NETWORKS[name]
    write_models(name, folder, options.small)
    workers, missing = start(name, options, folder)
    try:
        rows = check(workers, folder)
        found = figures(take_turns(workers, options.runs, options.seconds), 0 if options.small else network.gflop)
    finally:
        for worker in workers.values():
            worker.end()
    for competitor, row in found.items():
        rows[competitor] |= row
    shape = network.small if options.small else network.shape
    print_table(name, shape, rows)
    return {"shape": shape, "gflop": network.gflop, "left_out": missing, "competitors": rows}


def print_table(name: str, shape: tuple[int, ...], rows: dict[str, Any]) -> None:
    print(f"\n{name} {'x'.join(map(str, shape))}")
    print(
        f"{'':26s} {'median ms':>10s} {'least':>9s} {'most':>9s} {'GFLOP/s':>8s} {'x covfast':>9s} {'from':>5s} "
        f"{'to':>5s} {'differs':>8s} {'of range':>8s}"
    )
    for row in rows.values():
        wall, times = row["wall_ms"], row.get("times_covfast", {"median": 0, "min": 0, "max": 0})
        print(
            f"{row['label']:26s} {wall['median']:10.2f} {wall['min']:9.2f} {wall['max']:9.2f} "
            f"{row['gflop_per_s']:8.0f} {times['median']:9.2f} {times['min']:5.2f} {times['max']:5.2f} "
            f"{row['largest_difference']:8.1e} {row['of_range']:8.1e}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = list(networks.NETWORKS)
    parser.add_argument("--networks", nargs="+", default=names, choices=names)
    parser.add_argument("--competitors", nargs="+", default=list(COMPETITORS), choices=COMPETITORS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=9, help="rounds, in which everyone has a turn")
    parser.add_argument("--seconds", type=float, default=0.5, help="of a turn")
    parser.add_argument(
        "--small", action="store_true", help="small inputs: a check of the benchmark, not a measurement"
    )
    parser.add_argument("--folder", type=Path, help="where the model files are kept")
    parser.add_argument("--name", default="inference", help="of the file in bench/results")
    options = parser.parse_args()
    os.environ |= dict.fromkeys(THREAD_VARIABLES, str(options.threads))
    options.competitors = list(dict.fromkeys([REFERENCE, *options.competitors]))
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        found = {name: measure(name, options, folder) for name in options.networks}
    settings = {"threads": options.threads, "is_small": options.small, "turn_s": options.seconds}
    print(f"wrote {timing.save(options.name, {**settings, 'networks': found}).name}")


if __name__ == "__main__":
    main()
