"""Milliseconds from a model file to the first answer of MiniSeg for a 1x3x512x512 slice, in fresh processes.

    python bench/inference/first_result.py [--threads 2] [--runs 15] [--folder DIR] [--peers] [--name inference_first]

The clock starts when the library is imported and the input is there; importing is noted beside it. --peers measures
ONNX Runtime and OpenVINO too, which read an ONNX file. Processes of all take turns; the files are in the page cache.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np

NETWORK = "miniseg"
FILES = {"covfast_native": f"{NETWORK}.covfast", "onnx_runtime": f"{NETWORK}.onnx", "openvino_": f"{NETWORK}.onnx"}
KINDS = {"onnx_runtime": ()}  # whose open_file knows one precision


def child(module: str, folder: Path, threads: int) -> dict[str, float]:
    """What a process measures."""
    x = np.random.default_rng(0).standard_normal((1, 3, 512, 512), dtype=np.float32)
    start = time.perf_counter()
    peer = importlib.import_module(module)
    imported = time.perf_counter()
    run = peer.open_file(folder / FILES[module], *KINDS.get(module, ("fp32",)), threads)
    opened = time.perf_counter()
    run(x)
    done = time.perf_counter()
    again = []
    for _ in range(5):
        begun = time.perf_counter()
        run(x)
        again.append(time.perf_counter() - begun)
    seconds = {"import": imported - start, "open": opened - imported, "first_run": done - opened}
    seconds |= {"open_and_first_run": done - imported, "later_run": min(again)}
    return {f"{key}_ms": 1e3 * value for key, value in seconds.items()}


def measure(modules: list[str], folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Spread over processes, which take turns."""
    import timing

    found: dict[str, list[dict[str, float]]] = {module: [] for module in modules}
    for _ in range(options.runs):
        for module in modules:
            arguments = ["--child", module, "--folder", str(folder), "--threads", str(options.threads)]
            done = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
            found[module].append(json.loads(done.stdout.splitlines()[-1]))
    return {
        module: {key: timing.spread([row[key] for row in rows]) for key in rows[0]} for module, rows in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--folder", type=Path, help="where the model files are kept")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--name", default="inference_first", help="of the file in bench/results")
    parser.add_argument("--child", choices=list(FILES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        print(json.dumps(child(options.child, options.folder, options.threads)))
        return
    import covfast_native
    import onnx_file
    import timing

    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        covfast_native.write(NETWORK, folder)
        if options.peers:
            onnx_file.write(NETWORK, folder, is_small=False)
        rows = measure(list(FILES) if options.peers else list(FILES)[:1], folder, options)
    print(
        f"{'median (least) ms':16s} " + " ".join(f"{key.removesuffix('_ms'):>20s}" for key in next(iter(rows.values())))
    )
    for module, row in rows.items():
        print(f"{module:17s} " + " ".join(f"{one['median']:12.1f} ({one['min']:5.1f})" for one in row.values()))
    print(f"wrote {timing.save(options.name, {'threads': options.threads, 'processes': rows}).name}")


if __name__ == "__main__":
    main()
