"""Times a full evaluation of one case by covfast and its peers, alternately; checks what they say first.

    python bench/metrics/surface.py [--cases big thick small big_floaters] [--threads 2] [--runs 9] [--slow-runs 2]
                                    [--peers covfast exacta_ ...] [--folder DIR] [--name surface]

Dice, NSD at 1, 1 and 3 mm, ASSD and HD95 of three labels. First everyone evaluates every case once: peers of the same
surface as covfast's must give its figures to 1e-9, and of the others the largest difference from covfast's border
voxels is noted. Then they take turns, slow peers in the first rounds only. Memory is the peak of a process of its own
above the inputs, on the first call there. A peer that cannot be imported is named and left out:

    pip install torch exacta==0.0.1a5 surface-distance==0.1 monai SimpleITK mikan-rs

`--folder` keeps the cases, so that they are made once. Prints a table and writes bench/results/NAME.json.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parent))

import cases
import numpy as np
import timing

COVFAST = "covfast_"
PEERS = (COVFAST, "exacta_", "mikan_", "simpleitk_recipe", "monai_", "deepmind")
SAME = 1e-9  # relative or absolute difference of figures that follow one definition
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


def stored(name: str, folder: Path) -> cases.Case:
    """The case, from `folder` if it is there, else made and kept there."""
    paths = folder / f"truth_{name}.npy", folder / f"pred_{name}.npy"
    if not all(path.exists() for path in paths):
        for path, labels in zip(paths, cases.make(name), strict=False):
            np.save(path, labels)
    truth, prediction = (np.load(path) for path in paths)
    return cases.Case(truth, prediction, cases.GRIDS[name].spacing_mm)


def largest_difference(mine: cases.Figures, theirs: cases.Figures) -> float:
    """Of all figures that both have, relative where above 1."""
    pairs = [(value, theirs[label][figure]) for label, row in mine.items() for figure, value in row.items()]
    return max(abs(a - b) / max(1.0, abs(a)) for a, b in pairs if not math.isnan(b))


def check(peers: dict[str, ModuleType], case: cases.Case) -> dict[str, Any]:
    """Everyone's figures, how far they are from covfast's, and the seconds of this first call."""
    reference = {"surfels": peers[COVFAST].evaluate(case), "voxels": peers[COVFAST].evaluate_voxels(case)}
    rows = {}
    for name, peer in peers.items():
        start = time.perf_counter()
        figures = peer.evaluate(case)
        seconds = time.perf_counter() - start
        difference = largest_difference(reference[peer.SURFACE], figures)
        if peer.SURFACE == "surfels" and difference > SAME:
            raise SystemExit(f"{peer.NAME} and covfast differ by {difference}: {figures}, {reference['surfels']}")
        rows[name] = {
            "name": peer.NAME,
            "version": peer.VERSION,
            "surface": peer.SURFACE,
            "figures": figures,
            "largest_difference": difference,
            "checking_call_s": seconds,
        }
    return rows


def take_turns(peers: dict[str, ModuleType], case: cases.Case, runs: int, slow_runs: int) -> dict[str, Any]:
    """Wall and CPU seconds of each peer, in rounds of one call each."""
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in peers}
    for turn in range(runs):
        for name, peer in peers.items():
            if peer.IS_SLOW and turn >= slow_runs:
                continue
            cpu, wall = time.process_time(), time.perf_counter()
            peer.evaluate(case)
            times[name][0].append(time.perf_counter() - wall)
            times[name][1].append(time.process_time() - cpu)
    return {
        name: {"wall_s": timing.spread(wall), "cpu_s": timing.spread(cpu)}
        for name, (wall, cpu) in times.items()
        if wall
    }


def memory(peer: str, case: str, folder: Path) -> dict[str, float]:
    """Peak memory above the inputs and seconds of the first call, in a process of its own."""
    command = [sys.executable, __file__, "--measure", peer, case, "--folder", os.fspath(folder)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def status_bytes(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024


def measure(name: str, case_name: str, folder: Path) -> dict[str, float]:
    """What the child process does: libraries and inputs are in memory before it counts."""
    peer = importlib.import_module(name)
    peer.evaluate(cases.make("small"))
    case = stored(case_name, folder)
    with contextlib.suppress(PermissionError):  # where it is allowed, the peak starts from what is in use now
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = status_bytes("VmRSS")
    start = time.perf_counter()
    peer.evaluate(case)
    seconds = time.perf_counter() - start
    return {"peak_mib": (status_bytes("VmHWM") - before) / 2**20, "first_call_s": seconds}


def evaluate_case(name: str, peers: dict[str, ModuleType], folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    case = stored(name, folder)
    rows = check(peers, case)
    for peer in peers:
        rows[peer] |= memory(peer, name, folder)
    for peer, times in take_turns(peers, case, options.runs, options.slow_runs).items():
        rows[peer] |= times
        rows[peer]["times_covfast"] = rows[peer]["wall_s"]["median"] / rows[COVFAST]["wall_s"]["median"]
    print_table(name, case, rows)
    return {"shape": case.truth.shape, "spacing_mm": case.spacing_mm, "peers": rows}


def print_table(name: str, case: cases.Case, rows: dict[str, Any]) -> None:
    print(f"\n{name} {case.truth.shape}, {case.spacing_mm} mm")
    print(
        f"{'':18s} {'surface':8s} {'median s':>9s} {'least':>8s} {'most':>8s} {'CPU s':>8s} {'MiB':>7s} "
        f"{'x covfast':>9s} {'differs':>8s}"
    )
    for row in rows.values():
        wall = row["wall_s"]
        print(
            f"{row['name']:18s} {row['surface']:8s} {wall['median']:9.4f} {wall['min']:8.4f} {wall['max']:8.4f} "
            f"{row['cpu_s']['median']:8.3f} {row['peak_mib']:7.0f} {row['times_covfast']:9.2f} "
            f"{row['largest_difference']:8.1e}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=list(cases.GRIDS), choices=list(cases.GRIDS))
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=PEERS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--slow-runs", type=int, default=2, help="of peers that take many seconds")
    parser.add_argument("--folder", type=Path, help="where the cases are kept")
    parser.add_argument("--name", default="surface", help="of the file in bench/results")
    parser.add_argument("--measure", nargs=2, metavar=("PEER", "CASE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.measure:
        print(json.dumps(measure(*options.measure, options.folder)))
        return
    os.environ |= dict.fromkeys(THREAD_VARIABLES, str(options.threads))  # read by libraries as they are imported
    peers, missing = timing.load_peers(list(dict.fromkeys([COVFAST, *options.peers])))
    for name, reason in missing.items():
        print(f"left out: {name}: {reason}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        found = {name: evaluate_case(name, peers, folder, options) for name in options.cases}
    path = timing.save(options.name, {"threads": options.threads, "left_out": missing, "cases": found})
    print(f"wrote {path.name}")


if __name__ == "__main__":
    main()
