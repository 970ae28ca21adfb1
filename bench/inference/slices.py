"""Seconds for 300 slices of 512x512 through MiniSeg, by covfast and OpenVINO, each in the ways that it offers.

    python bench/inference/slices.py [--count 300] [--threads 2] [--runs 5] [--small] [--folder DIR]
                                     [--name inference_slices]

Ways: one slice after the other with all threads; several at once with one thread each (covfast: a thread pool over
one network; OpenVINO: an AsyncInferQueue in throughput mode); batches of 8 (OpenVINO, compiled for them). Answers are
checked on the first slices and let go afterwards: keeping them would measure fresh memory. The ways take turns in one
process, TURN slices each, so that a machine that is slower for a second is slower for all of them; a run is the sum of
its turns. Thirty different slices are used over and over.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import covfast_native
import networks
import numpy as np
import onnx_file
import timing
from worker import THREAD_VARIABLES

NETWORK, DIFFERENT, BATCH, TURN = "miniseg", 30, 8, 48
Use = Callable[[int, Any], None]
"""Takes the number of a slice and its answer, (C, H, W), which is there until it returns."""
Way = Callable[[list[Any], Use], None]


def covfast_one_by_one(folder: Path, threads: int, kind: str) -> Way:
    net = covfast_native.open_file(folder / f"{NETWORK}.covfast", kind, threads)

    def run(slices: list[Any], use: Use) -> None:
        for index, x in enumerate(slices):
            use(index, net(x)[0])

    return run


def covfast_at_once(folder: Path, threads: int, kind: str) -> Way:
    net = covfast_native.open_file(folder / f"{NETWORK}.covfast", kind, 1)
    pool = ThreadPoolExecutor(threads)

    def run(slices: list[Any], use: Use) -> None:
        for _ in pool.map(lambda index: use(index, net(slices[index])[0]), range(len(slices))):
            pass

    return run


def openvino_one_by_one(file: Path, threads: int, kind: str) -> Way:
    import openvino_

    request = openvino_.compiled(file, kind, threads, "LATENCY").create_infer_request()

    def run(slices: list[Any], use: Use) -> None:
        for index, x in enumerate(slices):
            use(index, request.infer([x], share_inputs=True, share_outputs=True)[0][0])

    return run


def openvino_at_once(file: Path, threads: int, kind: str) -> Way:
    import openvino
    import openvino_

    queue = openvino.AsyncInferQueue(openvino_.compiled(file, kind, threads, "THROUGHPUT"))

    def run(slices: list[Any], use: Use) -> None:
        queue.set_callback(lambda request, index: use(index, request.get_output_tensor(0).data[0]))
        for index, x in enumerate(slices):
            queue.start_async([x], index, share_inputs=True)
        queue.wait_all()

    return run


def openvino_batches(file: Path, threads: int, kind: str) -> Way:
    import openvino_

    request = openvino_.compiled(file, kind, threads, "LATENCY").create_infer_request()

    def run(slices: list[Any], use: Use) -> None:
        for first in range(0, len(slices), BATCH):
            part = slices[first : first + BATCH]
            x = np.concatenate(part + part[:1] * (BATCH - len(part)))
            answers = request.infer([x], share_inputs=True, share_outputs=True)[0]
            for index in range(len(part)):
                use(first + index, answers[index])

    return run


def ways(folder: Path, options: argparse.Namespace) -> dict[str, Way]:
    """All ways that work here."""
    covfast_native.write(NETWORK, folder)
    file = onnx_file.write(NETWORK, folder, options.small)
    batched = onnx_file.write(NETWORK, folder, options.small, BATCH)
    made: dict[str, Way] = {}
    for kind in ("fp32", "bf16"):
        for label, make, given in (
            ("covfast one by one", covfast_one_by_one, folder),
            ("covfast at once", covfast_at_once, folder),
            ("OpenVINO one by one", openvino_one_by_one, file),
            ("OpenVINO at once", openvino_at_once, file),
            ("OpenVINO batches", openvino_batches, batched),
        ):
            try:
                made[f"{label} {kind}"] = make(given, options.threads, kind)
            except Exception as error:  # peers and precisions that are not here, in errors of their own
                print(f"left out: {label} {kind}: {str(error).splitlines()[0]}")
    return made


def answers_of(way: Way, slices: list[Any]) -> list[Any]:
    held: list[Any] = [None] * len(slices)

    def keep(index: int, answer: Any) -> None:
        held[index] = np.array(answer)

    way(slices, keep)
    return held


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each way, which take turns, and how far its answers are from those of the first."""
    different = [networks.NETWORKS[NETWORK].input(options.small, seed) for seed in range(DIFFERENT)]
    slices = (different * (options.count // DIFFERENT + 1))[: options.count]
    made = ways(folder, options)
    reference = answers_of(next(iter(made.values())), different[:3])
    of_range = {
        label: max(
            float(np.abs(a - b).max() / np.ptp(a))
            for a, b in zip(reference, answers_of(way, different[:3]), strict=True)
        )
        for label, way in made.items()
    }
    seconds: dict[str, list[float]] = {label: [0.0] * options.runs for label in made}
    for run in range(options.runs):
        for first in range(0, len(slices), TURN):
            for label, way in made.items():
                start = time.perf_counter()
                way(slices[first : first + TURN], lambda index, answer: None)
                seconds[label][run] += time.perf_counter() - start
    return {label: {"s": timing.spread(held), "of_range": of_range[label]} for label, held in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="small slices: a check of the benchmark")
    parser.add_argument("--folder", type=Path, help="where the model files are kept")
    parser.add_argument("--name", default="inference_slices", help="of the file in bench/results")
    options = parser.parse_args()
    os.environ |= dict.fromkeys(THREAD_VARIABLES, str(options.threads))
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        rows = measure(folder, options)
    for label, row in rows.items():
        print(
            f"{label:26s} {row['s']['median']:8.3f} s ({row['s']['min']:.3f} to {row['s']['max']:.3f}), "
            f"differs from the first by {row['of_range']:.1e} of its range"
        )
    settings = {"threads": options.threads, "count": options.count, "is_small": options.small}
    print(f"wrote {timing.save(options.name, {**settings, 'ways': rows}).name}")


if __name__ == "__main__":
    main()
