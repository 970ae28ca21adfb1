"""One competitor with one network in a process of its own, which waits for its turns.

Started by `Worker`; reads one JSON request a line and answers with one, on what was its stdout.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import networks
import numpy as np

MODULES = ("torch_eager", "torch_channels_last", "onnx_runtime", "openvino_", "covfast_native")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_MOST_RUNS = 50  # of one turn


class Worker:
    """A competitor's process.

    Args:
        competitor: module and kind, such as "openvino_:bf16".
        network: name of the network.
        threads: that it may use.
        folder: of the model files.
        is_small: whether the small input is taken.

    Raises: RuntimeError: it cannot run, with the last line that it said.
    """

    def __init__(self, competitor: str, network: str, threads: int, folder: Path, is_small: bool) -> None:
        command = [sys.executable, __file__, competitor, network, str(threads), os.fspath(folder), str(int(is_small))]
        environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads))
        self._log = (folder / f"{network}-{competitor.replace(':', '-')}.log").open("w+b")
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self._log, text=True, env=environment)
        self.facts = self._answer()

    def ask(self, **request: Any) -> Any:
        """The answer to one request."""
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._log.seek(0)
            said = self._log.read().decode(errors="replace").strip().splitlines()
            raise RuntimeError(said[-1] if said else f"exit code {self._process.returncode}")
        return json.loads(line)

    def end(self) -> None:
        """Let the process end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._log.close()


def serve(competitor: str, network: str, threads: int, folder: Path, is_small: bool) -> None:
    """What the process does."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not stand between the answers
    module, kind = competitor.split(":")
    start = time.perf_counter()
    peer = importlib.import_module(module)
    imported = time.perf_counter()
    run = peer.prepare(network, kind, threads, folder, is_small)
    x = networks.NETWORKS[network].input(is_small)
    run(x)
    facts = {"import_s": imported - start, "prepare_s": time.perf_counter() - imported, "versions": peer.versions()}
    print(json.dumps({"label": peer.KINDS[kind], **facts}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "output" in request:
            np.save(request["output"], np.ascontiguousarray(run(x)))
            answer: Any = None
        else:
            answer = turn(run, x, request["seconds"])
        print(json.dumps(answer), file=answers, flush=True)


def turn(run: Any, x: Any, seconds: float) -> list[float]:
    """Milliseconds of each run of one turn of about so many seconds; a first run that warms up does not count.

    Where one run takes longer than the turn, that run is all and counts.
    """
    times: list[float] = []
    while not times or (sum(times) < seconds * 1e3 and len(times) < _MOST_RUNS):
        start = time.perf_counter()
        run(x)
        times.append((time.perf_counter() - start) * 1e3)
    return times[1:] or times


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), sys.argv[5] == "1")
