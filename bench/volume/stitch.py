"""A sliding window without its network, from a volume to labels: covfast, nnunetv2 and MONAI in turns.

    python bench/volume/stitch.py [--size full|small] [--threads 2] [--runs 5] [--peers ...] [--name volume_stitch]

Windows of 56x192x160 over 300x512x512 (300 of nnunetv2's and covfast's plan, MONAI's its own), Gaussian importance,
step 0.5, no mirroring, 4 channels, then labels. The network copies its window into each channel; its own time, which it
notes, is the same work for all and is taken off in "stitch_s", and stands in "network_s". It is a module of torch;
covfast runs a second time with the same network on arrays, as beside its own engine. First the labels of a network
with different channels are compared: they may differ where two channels are as good as equal. Memory is the peak of a
process of its own above volume and labels, the network's outputs included.

    pip install torch nnunetv2 monai
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parent))

import numpy as np
import timing

COVFAST = "stitch_covfast"
PEERS = (COVFAST, "stitch_covfast_arrays", "stitch_nnunetv2", "stitch_monai")
MOST_DIFFERENT = 2e-3  # of the voxels: those between two areas, where half precision and MONAI's plan decide otherwise
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
NNUNET_VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")  # nnunetv2 warns without; none is used


def quiet(peer: ModuleType, case: Any, network: Any) -> Any:
    """The labels, without what the peer prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        return peer.labels(case, network)


def check(peers: dict[str, ModuleType], case: Any) -> dict[str, float]:
    """Part of the voxels whose label is another one than covfast's. Raises: SystemExit where it is too large."""
    import windows

    mine = quiet(peers[COVFAST], case, windows.Banded())
    if len(np.unique(mine)) != windows.CHANNELS:
        raise SystemExit(f"covfast: got labels {np.unique(mine)}, expected {windows.CHANNELS} of them")
    differ = {}
    for name, peer in peers.items():
        differ[name] = float(np.mean(quiet(peer, case, windows.Banded()) != mine))
        if differ[name] > MOST_DIFFERENT:
            raise SystemExit(f"{peer.NAME} and covfast differ in {100 * differ[name]:.3f} % of the voxels")
    return differ


def take_turns(peers: dict[str, ModuleType], case: Any, runs: int) -> dict[str, Any]:
    """Seconds in all, of the network, and without it, in rounds of one call each; the first does not count."""
    import windows

    rows: dict[str, Any] = {name: {"total_s": [], "network_s": [], "stitch_s": []} for name in peers}
    for turn in range(runs + 1):
        for name, peer in peers.items():
            network = windows.Repeated()
            start = time.perf_counter()
            quiet(peer, case, network)
            total = time.perf_counter() - start
            rows[name]["windows"] = network.calls
            if turn > 0:
                for key, value in zip(rows[name], (total, network.seconds, total - network.seconds), strict=False):
                    rows[name][key].append(value)
    return {
        name: {key: timing.spread(value) if isinstance(value, list) else value for key, value in row.items()}
        for name, row in rows.items()
    }


def memory_mib(name: str, size: str, runs: int) -> dict[str, float]:
    """Peak memory above volume and labels of fresh processes."""
    command = [sys.executable, __file__, "--measure", name, "--size", size]
    found = []
    for _ in range(runs):
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append(float(done.stdout.splitlines()[-1]))
    return timing.spread(found)


def status_bytes(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024


def measure(name: str, size: str) -> float:
    """What the child process does: libraries, a first small call and the volume are in memory before it counts."""
    import windows

    peer = importlib.import_module(name)
    quiet(peer, windows.make("small"), windows.Repeated())
    case = windows.make(size)
    with contextlib.suppress(PermissionError):  # where it is allowed, the peak starts from what is in use now
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = status_bytes("VmRSS")
    labels = quiet(peer, case, windows.Repeated())
    return float((status_bytes("VmHWM") - before - labels.nbytes) / 2**20)


def print_table(rows: dict[str, Any]) -> None:
    base = rows[COVFAST]["stitch_s"]["median"]
    for row in rows.values():
        s = row["stitch_s"]
        print(
            f"{row['name']:17s} {row['version']:8s} {s['median']:8.3f} s ({s['min']:.3f} to {s['max']:.3f}), "
            f"{s['median'] / base:6.2f} times the first; with the network {row['total_s']['median']:7.3f} s; "
            f"{row['windows']} windows; peak {row['peak_mib']['median']:6.0f} MiB; "
            f"labels differ {100 * row['labels_differ']:.4f} %"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="full", choices=("full", "small"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--memory-runs", type=int, default=3)
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=PEERS)
    parser.add_argument("--name", default="volume_stitch", help="of the file in bench/results")
    parser.add_argument("--measure", metavar="PEER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.measure:
        print(measure(options.measure, options.size))
        return
    os.environ |= dict.fromkeys(THREAD_VARIABLES, str(options.threads))  # read by libraries as they are imported
    os.environ |= dict.fromkeys(NNUNET_VARIABLES, os.getcwd())
    peers, missing = timing.load_peers(list(dict.fromkeys([COVFAST, *options.peers])))
    for name, reason in missing.items():
        print(f"left out: {name}: {reason}")
    import windows

    case = windows.make(options.size)
    differ = check(peers, case)
    rows = take_turns(peers, case, options.runs)
    del case
    for name, peer in peers.items():
        rows[name] |= {"name": peer.NAME, "version": peer.VERSION, "labels_differ": differ[name]}
        rows[name]["peak_mib"] = memory_mib(name, options.size, options.memory_runs)
        rows[name]["times_covfast"] = rows[name]["stitch_s"]["median"] / rows[COVFAST]["stitch_s"]["median"]
    print_table(rows)
    result = {
        "threads": options.threads,
        "size": windows.SIZES[options.size],
        "left_out": missing,
        "peers": rows,
    }
    print(f"wrote {timing.save(options.name, result).name}")


if __name__ == "__main__":
    main()
