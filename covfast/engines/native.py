"""The native engine: our own kernels, no torch."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast import _core
from covfast.engines import Cancel, Floats, Network
from covfast.errors import ValueRangeError, WeightsError, describe, file_name

_SESSIONS = 4  # sizes that each thread keeps memory for


@dataclass(frozen=True)
class Step:
    """One node as it runs.

    Attributes:
        op, kernel: of the network and of the backend that computes it.
        output: name of the value that it makes, as the package has it.
        is_blocked: whether that lies in blocks of 16 channels.
        ms: milliseconds.
    """

    op: str
    kernel: str
    output: str
    is_blocked: bool
    ms: float


class NativeNetwork(Network):
    """A network on a backend of `covfast.backends()`.

    Copies and pickles (of spawned workers, say) hold path, arguments and ranges of values, and open the package again:
    WeightsError where the file is another one by then.

    Args:
        path: of the package.
        device, threads, precision, exact, calibration: as of `load`.

    Attributes:
        error: of "int8": root mean square difference to fp32 on the calibration, of fp32's standard deviation.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        device: str,
        threads: int | None,
        precision: str,
        exact: bool,
        calibration: npt.ArrayLike | None,
    ) -> None:
        super().__init__(path, precision, exact)
        self._path = os.path.abspath(os.fspath(path))
        self._arguments = (device, threads, precision, exact)
        self._ranges: dict[str, float] = {}  # greatest magnitude of each value, of "int8"
        self.engine = "native"
        self.backend = self._network.choose_backend(device)
        self.device = next(str(entry["device"]) for entry in _core.backends() if entry["name"] == self.backend)
        self._threads = threads or 0
        self._local = threading.local()
        self.error: float | None = None
        if calibration is not None:
            self._calibrate(device, calibration)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self._path, self._arguments, self.metadata["checksum"], self._ranges, self.error)

    def _checked(self, x: npt.ArrayLike, name: str = "x") -> Floats:
        array = super()._checked(x, name)
        if self.precision == "int8" and not np.isfinite(array).all():
            raise ValueRangeError(describe(name, "NaN or infinity", "finite numbers with precision='int8'"))
        return array

    def _calibrate(self, device: str, calibration: npt.ArrayLike) -> None:
        """Quantise by the ranges of values on these inputs, and note the error there."""
        x = self._checked(calibration, "calibration")
        if not x.any():
            raise ValueRangeError(describe("calibration", f"no value but 0, shape {x.shape}", "inputs as it will get"))
        full = NativeNetwork(self._path, device, self._threads or None, "fp32", False, None)
        volume = self._volume(x)
        greatest = full._session(volume.shape[2:]).ranges(volume)
        named = zip(full._network.steps, greatest, strict=True)
        self._quantise({output: top for (_, _, output, _), top in named if output})
        expected = full(x)
        self.error = float(np.sqrt(np.mean((self(x) - expected) ** 2)) / max(float(expected.std()), 1e-30))

    def _quantise(self, ranges: dict[str, float]) -> None:
        """Open the package with 8 bits by these ranges."""
        self._network = _core.open_network(os.fsencode(self._path), "int8", False, ranges)
        self._ranges = ranges

    def _session(self, size: tuple[int, ...]) -> _core.Session:
        """This thread's session for one size; the oldest goes when there are too many."""
        held = self._local.__dict__
        sessions: OrderedDict[tuple[int, ...], _core.Session] = held.setdefault("sessions", OrderedDict())
        if size not in sessions:
            while len(sessions) >= _SESSIONS:
                sessions.popitem(last=False)
            d, h, w = size
            sessions[size] = _core.Session(self._network, self.backend, self._threads, (d, h, w))
        sessions.move_to_end(size)
        return sessions[size]

    def _volume(self, x: Floats) -> Floats:
        """x as (N, C, D, H, W)."""
        return x if self.rank == 3 else x[:, :, None]

    def _run(self, x: Floats, progress: Callable[[str, int, int], object] | None, cancel: Cancel | None) -> Floats:
        volume = self._volume(x)
        y = self._session(volume.shape[2:]).run(volume, progress, cancel)
        return y if self.rank == 3 else y[:, :, 0]

    def profile(self, x: npt.ArrayLike, runs: int = 10) -> list[Step]:
        """What each step of the network costs on one input: fused and laid out, as it runs.

        Args:
            x: (N, C, [D,] H, W) float32, as of a call.
            runs: after a first one that is not counted.
        Returns: one `Step` per node that runs, in order, with its median time.
        Raises: as a call; ValueRangeError: runs below 1.
        """
        if runs < 1:
            raise ValueRangeError(describe("runs", runs, "at least 1"))
        volume = self._volume(self._checked(x))
        session = self._session(volume.shape[2:])
        times = np.median([session.profile(volume) for _ in range(runs + 1)][1:], axis=0)
        return [
            Step(op, kernel, output, is_blocked, float(ms))
            for (op, kernel, output, is_blocked), ms in zip(self._network.steps, times, strict=True)
        ]


def _reopen(
    path: str,
    arguments: tuple[str, int | None, str, bool],
    checksum: str,
    ranges: dict[str, float],
    error: float | None,
) -> NativeNetwork:
    """The network that was pickled. Raises: as `load`; WeightsError: the package has been replaced since."""
    net = NativeNetwork(path, *arguments, None)
    found = net.metadata["checksum"]
    if found != checksum:
        raise WeightsError(describe(file_name(path), found, f"{checksum}, of the network that was copied or pickled"))
    if ranges:
        net._quantise(ranges)
        net.error = error
    return net
