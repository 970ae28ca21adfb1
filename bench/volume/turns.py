"""What the benchmarks of single stages share: competitors, turns, memory in a process of its own.

A competitor is a module with NAME, VERSION, IS_SLOW and `work(case)`, which returns what is timed: a call without
arguments that gives the answer as a NumPy array. A stage is a module with PEERS (covfast's first), `make(size)` and
`check(answers)`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import timing

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
FOLDER_VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")  # nnunetv2 warns without; none is used
Work = Callable[[], Any]


def threads() -> int:
    """As the benchmark was told."""
    return int(os.environ["OMP_NUM_THREADS"])


def quiet(work: Work) -> Any:
    """What it answers, without what it prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        return work()


class Stopwatch:
    """Wall and CPU seconds of the calls of one competitor."""

    def __init__(self) -> None:
        self.wall_s: list[float] = []
        self.cpu_s: list[float] = []

    def answer(self, work: Work) -> Any:
        cpu, wall = time.process_time(), time.perf_counter()
        answer = quiet(work)
        self.wall_s.append(time.perf_counter() - wall)
        self.cpu_s.append(time.process_time() - cpu)
        return answer

    def row(self) -> dict[str, Any]:
        return {"wall_s": timing.spread(self.wall_s), "cpu_s": timing.spread(self.cpu_s)}


def take_turns(works: dict[str, Work], watches: dict[str, Stopwatch], slow: set[str], options: Any) -> None:
    """Rounds of one call each; slow ones in the first rounds only. A first call, whose answer was checked, counts where
    no other is made."""
    for name in works:
        if options.slow_runs > 0 or name not in slow:
            watches[name] = Stopwatch()
    for turn in range(options.runs):
        for name, work in works.items():
            if name not in slow or turn < options.slow_runs:
                watches[name].answer(work)


def status_bytes(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024


def measure(stage: ModuleType, name: str, size: str) -> float:
    """Peak MiB above libraries and input, the answer included; a small call has been made before."""
    peer = importlib.import_module(name)
    quiet(peer.work(stage.make("small")))
    work = peer.work(stage.make(size))
    with contextlib.suppress(PermissionError):  # where it is allowed, the peak starts from what is in use now
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = status_bytes("VmRSS")
    quiet(work)
    return (status_bytes("VmHWM") - before) / 2**20


def memory_mib(script: str, name: str, size: str) -> float:
    """`measure` in a process of its own."""
    command = [sys.executable, script, "--measure", name, "--size", size]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def print_table(rows: dict[str, Any]) -> None:
    for row in rows.values():
        s = row["wall_s"]
        peak = "" if row["peak_mib"] is None else f"peak {row['peak_mib']:6.0f} MiB; "
        print(
            f"{row['name']:28s} {row['version']:8s} {s['median']:8.3f} s ({s['min']:.3f} to {s['max']:.3f}, "
            f"{s['runs']} runs), {row['times_covfast']:7.2f} times covfast; CPU {row['cpu_s']['median']:8.3f} s; "
            f"{peak}{json.dumps(row['check'])}"
        )


def options_of(stage: ModuleType, name: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(stage.__doc__ or "").splitlines()[0])
    parser.add_argument("--size", default="full", choices=tuple(stage.SIZES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--slow-runs", type=int, default=2, help="0: the call whose answer is checked")
    parser.add_argument("--no-memory", action="store_true", help="do not measure memory, which takes another call")
    parser.add_argument("--peers", nargs="+", default=list(stage.PEERS), choices=stage.PEERS)
    parser.add_argument("--name", default=name, help="of the file in bench/results")
    parser.add_argument("--measure", metavar="PEER", help=argparse.SUPPRESS)
    return parser.parse_args()


def run(stage: ModuleType, script: str, name: str) -> None:
    """The benchmark of one stage: answers, turns, memory, table, file."""
    options = options_of(stage, name)
    warnings.simplefilter("ignore")
    os.environ |= dict.fromkeys(THREAD_VARIABLES, str(options.threads))  # read by libraries as they are imported
    os.environ |= dict.fromkeys(FOLDER_VARIABLES, os.getcwd())
    if options.measure:
        print(measure(stage, options.measure, options.size))
        return
    mine = stage.PEERS[0]
    peers, missing = timing.load_peers(list(dict.fromkeys([mine, *options.peers])))
    for peer_name, why in missing.items():
        print(f"left out: {peer_name}: {why}")
    case = stage.make(options.size)
    works = {name: peer.work(case) for name, peer in peers.items()}
    watches = {name: Stopwatch() for name in works}
    answers = {name: np.asarray(watches[name].answer(work)) for name, work in works.items()}
    checks = stage.check(answers)
    del answers
    take_turns(works, watches, {name for name, peer in peers.items() if peer.IS_SLOW}, options)
    rows = {name: watch.row() for name, watch in watches.items()}
    base = rows[mine]["wall_s"]["median"]
    del works, case
    for name, peer in peers.items():
        rows[name] |= {"name": peer.NAME, "version": peer.VERSION, "check": checks[name]}
        rows[name]["times_covfast"] = rows[name]["wall_s"]["median"] / base
        rows[name]["peak_mib"] = None if options.no_memory else memory_mib(script, name, options.size)
    print_table(rows)
    result = {"threads": options.threads, "size": stage.SIZES[options.size], "left_out": missing, "peers": rows}
    print(f"wrote {timing.save(options.name, result).name}")
