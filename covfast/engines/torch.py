"""The reference engine: the graph of a package, node by node, with torch's functions."""

# torch is not followed by the type checker: its tensors are Any.
# mypy: no-warn-return-any

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from covfast import package
from covfast.engines import Cancel, Floats, Network
from covfast.errors import BackendUnavailable, Cancelled, DeviceError, ValueRangeError, describe

try:
    import torch
    import torch.nn.functional as F
except ModuleNotFoundError as error:
    raise BackendUnavailable(describe("engine", "no torch", "torch", 'pip install "covfast[train]"')) from error

Node = Mapping[str, Any]


class TorchNetwork(Network):
    """A network run by torch; slow to start, for comparison.

    Args:
        path: of the package.
        device, threads, precision: as of `load`; torch's number of threads is left alone where `threads` is None.
    """

    def __init__(self, path: str | os.PathLike[str], device: str, threads: int | None, precision: str) -> None:
        super().__init__(path, precision)
        self.device = _resolve(device)
        self.engine = "torch"
        self.backend = f"torch {torch.__version__} {self.device}"
        self._threads = threads
        tensors = package.read_tensors(path)
        self._tensors = {name: torch.from_numpy(tensor.copy()).to(self.device) for name, tensor in tensors.items()}

    def _run(self, x: Floats, progress: Callable[[str, int, int], object] | None, cancel: Cancel | None) -> Floats:
        graph = self.metadata["graph"]
        if self._threads is not None:
            torch.set_num_threads(self._threads)
        values = {graph["inputs"][0]["name"]: torch.from_numpy(x).to(self.device)}
        with torch.no_grad():
            for index, node in enumerate(graph["nodes"]):
                if cancel is not None and cancel.is_set():
                    raise Cancelled(describe("cancel", "a request to stop", "none"))
                if progress is not None:
                    progress("network", index, len(graph["nodes"]))
                values[node["output"]] = self._apply(node, [values[name] for name in node["inputs"]])
        return values[graph["outputs"][0]].cpu().numpy()

    def _apply(self, node: Node, x: list[Any]) -> Any:
        """Output of one node."""
        op = node["op"]
        if op == "conv":
            conv = F.conv2d if self.rank == 2 else F.conv3d
            bias = self._tensors[node["bias"]] if "bias" in node else None
            window = (node["stride"], node["padding"], node["dilation"], node["groups"])
            return conv(x[0], self._tensors[node["weight"]], bias, *window)
        if op == "avg_pool":
            pool = F.avg_pool2d if self.rank == 2 else F.avg_pool3d
            return pool(
                x[0], node["kernel"], node["stride"], node["padding"], node["ceil_mode"], node["count_include_pad"]
            )
        if op == "resize":
            mode = "bilinear" if self.rank == 2 else "trilinear"
            given = {"size": x[1].shape[2:]} if len(x) == 2 else {"scale_factor": node["factor"]}
            return F.interpolate(x[0], mode=mode, align_corners=node["align_corners"], **given)
        if op == "prelu":
            return F.prelu(x[0], self._tensors[node["slope"]])
        if op == "affine":
            ones = (1, -1, *[1] * self.rank)
            return x[0] * self._tensors[node["scale"]].reshape(ones) + self._tensors[node["shift"]].reshape(ones)
        if op in _BINARY:
            pair = x if len(x) == 2 else [x[0], node["scalar"]]
            return _BINARY[op](*(pair[::-1] if node.get("reversed") else pair))
        if op in _PLAIN:
            return _PLAIN[op](node, x)
        raise ValueRangeError(describe("op", repr(op), "one of the closed list"))


def _resolve(device: str) -> str:
    """The device that `device` asks for. Raises: DeviceError: unknown or absent."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda" if count else "cpu"
    kind, colon, number = device.partition(":")
    is_known = device == "cpu" or (kind == "cuda" and (not colon or (number.isascii() and number.isdigit())))
    if not is_known:
        raise DeviceError(describe("device", repr(device), "'auto', 'cpu', 'cuda' or 'cuda:N'"))
    if kind == "cuda" and int(number or 0) >= count:
        raise DeviceError(describe("device", repr(device), f"one of the {count} CUDA devices that are present here"))
    return device


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
}
_PLAIN: dict[str, Callable[[Node, list[Any]], Any]] = {
    "relu": lambda node, x: F.relu(x[0]),
    "leaky_relu": lambda node, x: F.leaky_relu(x[0], node["slope"]),
    "sigmoid": lambda node, x: torch.sigmoid(x[0]),
    "softmax": lambda node, x: torch.softmax(x[0], 1),
    "concat": lambda node, x: torch.cat(x, 1),
    "slice": lambda node, x: x[0][:, node["first"] : node["first"] + node["count"]],
}
