"""Peak memory of a whole nnU-Net recipe for volumes of several depths: it must not grow with depth.

    python bench/volume/depth.py [--depths 100 300 900] [--threads 2] [--name volume_depth]

D x 512 x 512 int16 at 1.0 x 0.7 x 0.7 mm, cropped, normalised and resampled to 1.0 x 0.8 x 0.8 mm by cubic splines,
windows of 56x192x160, a network of four classes that is one 1x1x1 convolution (so that what is measured is not the
network), stitched, resampled back and labelled. Each depth is a process of its own. "Beside" is its peak above what it
held before the run, less the prepared input and the labels, both of which are as deep as the volume.
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

import numpy as np

SPACING_MM, TARGET_MM = (1.0, 0.7, 0.7), (1.0, 0.8, 0.8)


def write_package(path: Path) -> None:
    """A package of nnU-Net's stages around a network that costs nothing."""
    from covfast import package

    ones, grid = [1, 1, 1], {"order_z": 0, "separate_z": "auto", "anisotropy": 3.0}
    window = {"stride": ones, "padding": [0, 0, 0], "dilation": ones, "groups": 1}
    node = {"op": "conv", "inputs": ["x"], "output": "y", "weight": "w", "bias": "b", **window}
    graph = {"inputs": [{"name": "x", "channels": 1, "rank": 3}], "outputs": ["y"], "nodes": [node]}
    windows = {"size": [56, 192, 160], "step": 0.5, "importance": "gaussian", "single": "weighted", "mirror_axes": []}
    stages = [
        {"stage": "orient", "to": "file"},
        {"stage": "crop", "to": "nonzero"},
        {
            "stage": "normalise_channels",
            "channels": [{"scheme": "ct", "low": -1e3, "high": 4e2, "mean": 0, "std": 3e2}],
        },
        {"stage": "resample_volume", "spacing_mm": list(TARGET_MM), "order": 3, **grid},
        {"stage": "windows", **windows},
        {"stage": "network"},
        {"stage": "stitch"},
        {"stage": "resample_logits", "order": 1, **grid},
        {"stage": "argmax", "values": [0, 1, 2, 3]},
    ]
    tensors = {
        "w": np.array([0, 1, 2, 3], np.float32).reshape(4, 1, 1, 1, 1),
        "b": np.array([0, 0, -1, -3], np.float32),
    }
    package.write(
        path, tensors, graph, recipe={"version": 1, "stages": stages}, labels={1: "a", 2: "b", 3: "c"},
        input_contract={"channels": 1, "rank": 3, "multiple": ones}, licence="Apache-2.0", provenance={}, name="bands",
    )  # fmt: skip


def status_mib(key: str) -> float:
    """A line of /proc/self/status, in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


def child(path: Path, depth: int, threads: int) -> dict[str, float]:
    """Memory of one process in MiB."""
    import covfast
    from covfast.io import Channels
    from covfast.volume import Geometry

    shape = (depth, 512, 512)
    array = np.empty(shape, np.int16)
    rng = np.random.default_rng(0)
    for plane in array:
        plane[:] = rng.integers(-1000, 1000, shape[1:], np.int16)
    image = Channels((array,), Geometry.from_spacing(shape, SPACING_MM))
    segmenter = covfast.Segmenter(path, device="cpu", threads=threads)
    before = status_mib("VmRSS")
    segmenter(image)
    side = round(512 * SPACING_MM[1] / TARGET_MM[1])
    prepared, labels = depth * side * side * 4 / 2**20, depth * 512 * 512 / 2**20
    peak = status_mib("VmHWM")
    found = {"image": array.nbytes / 2**20, "prepared": prepared, "labels": labels, "peak": peak}
    estimate = segmenter.estimate_bytes(image) / 2**20
    return found | {"beside": peak - before - prepared - labels, "estimate": estimate}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depths", type=int, nargs="+", default=(100, 300, 900))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="volume_depth", help="of the file in bench/results")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        print(json.dumps(child(options.child, options.depths[0], options.threads)))
        return
    import timing

    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bands.covfast"
        write_package(path)
        for depth in options.depths:
            command = [sys.executable, __file__, "--child", str(path), "--depths", str(depth)]
            command += ["--threads", str(options.threads)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            row = rows[str(depth)] = json.loads(done.stdout.splitlines()[-1])
            print(f"{depth:4d} slices: " + ", ".join(f"{key} {value:.0f} MiB" for key, value in row.items()))
    print(f"wrote {timing.save(options.name, {'threads': options.threads, 'depths': rows}).name}")


if __name__ == "__main__":
    main()
