"""Memory of a fresh process that loads a model package and runs one slice through MiniSeg, above numpy alone.

    python bench/inference/memory.py [--threads 2] [--runs 5] [--folder DIR] [--peers] [--name inference_memory]

Each process imports numpy and makes a slice of 1x3x512x512, loads and runs, and notes the most that was resident and
what still is. "Above numpy" is the difference to a process that has made the slice and an answer's array and nothing
else. --peers measures ONNX Runtime and OpenVINO too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np

NETWORK = "miniseg"
CHILDREN = {
    "numpy alone": "",
    "covfast fp32": "covfast_native",
    "ONNX Runtime fp32": "onnx_runtime",
    "OpenVINO fp32": "openvino_",
}


def status_mib(key: str) -> float:
    """A line of /proc/self/status, in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


def child(module: str, folder: Path, threads: int) -> dict[str, float]:
    """What a process uses; without a module, of the arrays alone."""
    x = np.random.default_rng(0).standard_normal((1, 3, 512, 512), dtype=np.float32)
    if module == "covfast_native":
        import covfast_native

        y = covfast_native.open_file(folder / f"{NETWORK}.covfast", "fp32", threads)(x)
    elif module == "onnx_runtime":
        import onnx_runtime

        y = onnx_runtime.open_file(folder / f"{NETWORK}.onnx", threads)(x)
    elif module == "openvino_":
        import openvino_

        y = openvino_.open_file(folder / f"{NETWORK}.onnx", "fp32", threads)(x)
    else:
        y = np.ones((1, 2, 512, 512), np.float32)
    assert y.shape == (1, 2, 512, 512)
    return {"resident_mib": status_mib("VmRSS"), "peak_mib": status_mib("VmHWM")}


def measure(module: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Medians over processes."""
    import timing

    command = [sys.executable, __file__, "--child", module, "--folder", str(folder), "--threads", str(options.threads)]
    found = []
    for _ in range(options.runs):
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return {key: timing.spread([one[key] for one in found]) for key in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the model files are kept")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--name", default="inference_memory", help="of the file in bench/results")
    parser.add_argument("--child", help=argparse.SUPPRESS)
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
        names = list(CHILDREN) if options.peers else list(CHILDREN)[:2]
        rows = {name: measure(CHILDREN[name], folder, options) for name in names}
    base = rows["numpy alone"]["resident_mib"]["median"]
    for name, row in rows.items():
        row["peak_above_numpy_mib"] = row["peak_mib"]["median"] - base
        row["resident_above_numpy_mib"] = row["resident_mib"]["median"] - base
        print(
            f"{name:20s} peak {row['peak_mib']['median']:7.1f} MiB, {row['peak_above_numpy_mib']:7.1f} above numpy; "
            f"afterwards {row['resident_above_numpy_mib']:7.1f}"
        )
    print(f"wrote {timing.save(options.name, {'threads': options.threads, 'processes': rows}).name}")


if __name__ == "__main__":
    main()
