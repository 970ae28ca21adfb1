"""Random networks: every way in which fusing, layouts and shared memory can meet, in a few nodes."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from engine.conftest import write_package

Rng = np.random.Generator


class GraphMaker:
    """Grows a graph node by node from values that are already there.

    Args:
        rng: decides.
        rank: 2 or 3.
        widths: channels that convolutions give: few make a planar network, 16 and more a blocked one.
    """

    def __init__(self, rng: Rng, rank: int, widths: tuple[int, ...]) -> None:
        self.rng, self.rank, self.widths = rng, rank, widths
        self.nodes: list[dict[str, Any]] = []
        self.tensors: dict[str, np.ndarray[Any, Any]] = {}
        self.channels = {"x": int(rng.choice([1, 2, 3, 9]))}
        self.level = {"x": 0}  # how often the size was halved

    def pick(self, level: int | None = None, channels: int | None = None) -> str | None:
        """A value, of this size and number of channels if told; late ones are more likely."""
        fits = [
            v
            for v in self.channels
            if (level is None or self.level[v] == level) and (channels is None or self.channels[v] == channels)
        ]
        return None if not fits else fits[-1 - int(len(fits) * self.rng.random() ** 2)]

    def add(self, op: str, inputs: list[str], channels: int, level: int, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append({"op": op, "inputs": inputs, "output": name, **attributes})
        self.channels[name], self.level[name] = channels, level
        return name

    def tensor(self, *shape: int, scale: float = 1.0) -> str:
        name = f"t{len(self.tensors)}"
        self.tensors[name] = (scale * self.rng.standard_normal(shape)).astype(np.float32)
        return name

    def conv(self, source: str, width: int | None = None, kernel: int | None = None, groups: int = 1) -> str:
        out = int(self.rng.choice(self.widths)) if width is None else width
        k = int(self.rng.choice([1, 3, 3, 5])) if kernel is None else kernel
        c = self.channels[source]
        stride = 2 if self.level[source] < 2 and width is None and self.rng.random() < 0.2 else 1
        weight = self.tensor(out, c // groups, *[k] * self.rank, scale=(c / groups * k**self.rank) ** -0.5)
        window = {"stride": [stride] * self.rank, "padding": [k // 2] * self.rank, "dilation": [1] * self.rank}
        extra = {"bias": self.tensor(out)} if self.rng.random() < 0.5 else {}
        level = self.level[source] + (stride == 2)
        return self.add("conv", [source], out, level, weight=weight, groups=groups, **window, **extra)

    def grow(self) -> None:
        """One more node, or a few that belong together."""
        kind = self.rng.choice(
            ["conv", "act", "add", "concat", "slice", "norm", "pool", "up", "gate", "depthwise", "scalar"],
            p=[0.3, 0.12, 0.16, 0.1, 0.08, 0.06, 0.04, 0.04, 0.04, 0.04, 0.02],
        )
        source = self.pick()
        assert source is not None
        getattr(self, f"_{kind}")(source, self.channels[source], self.level[source])

    def _conv(self, v: str, c: int, level: int) -> None:
        self.conv(v)

    def _depthwise(self, v: str, c: int, level: int) -> None:
        self.conv(v, c, groups=c)

    def _act(self, v: str, c: int, level: int) -> None:
        kind = str(self.rng.choice(["relu", "leaky_relu", "prelu", "sigmoid", "affine"]))
        attributes: dict[str, Any] = {
            "leaky_relu": {"slope": 0.01},
            "prelu": {"slope": self.tensor(c)},
            "affine": {"scale": self.tensor(c), "shift": self.tensor(c)},
        }.get(kind, {})
        self.add(kind, [v], c, level, **attributes)

    def _scalar(self, v: str, c: int, level: int) -> None:
        self.add("sub", [v], c, level, scalar=1.0, reversed=True)

    def _add(self, v: str, c: int, level: int) -> None:
        other = self.pick(level, c)
        assert other is not None
        self.add(str(self.rng.choice(["add", "add", "add", "mul", "sub"])), [v, other], c, level)

    def _gate(self, v: str, c: int, level: int) -> None:
        self.add("mul", [v, self.add("sigmoid", [self.conv(v, 1, 1)], 1, level)], c, level)

    def _concat(self, v: str, c: int, level: int) -> None:
        parts = [v] + [p for p in (self.pick(level) for _ in range(self.rng.integers(1, 3))) if p is not None]
        if sum(self.channels[p] for p in parts) <= 96:
            self.add("concat", parts, sum(self.channels[p] for p in parts), level)

    def _slice(self, v: str, c: int, level: int) -> None:
        parts = int(self.rng.integers(2, 4))
        if c < parts:
            return
        cuts = [0, *sorted(self.rng.choice(np.arange(1, c), parts - 1, replace=False).tolist()), c]
        for first, end in itertools.pairwise(cuts):
            self.add("slice", [v], end - first, level, first=first, count=end - first)

    def _norm(self, v: str, c: int, level: int) -> None:
        groups = c if self.rng.random() < 0.8 else 1
        self.add("group_norm", [v], c, level, groups=groups, eps=1e-5, weight=self.tensor(c), bias=self.tensor(c))

    def _pool(self, v: str, c: int, level: int) -> None:
        two, none = [2] * self.rank, [0] * self.rank
        if level < 2:
            ones = [1] * self.rank
            self.add(
                "max_pool", [v], c, level + 1, kernel=two, stride=two, padding=none, dilation=ones, ceil_mode=False
            )

    def _up(self, v: str, c: int, level: int) -> None:
        if level == 0:
            return
        if self.rng.random() < 0.5:
            self.add("resize", [v], c, level - 1, align_corners=False, factor=[2.0] * self.rank)
            return
        out, kernel = int(self.rng.choice(self.widths)), int(self.rng.choice([2, 2, 4]))  # 4: windows overlap
        two, none, ones = [2] * self.rank, [0] * self.rank, [1] * self.rank
        window = {"stride": two, "padding": [kernel // 2 - 1] * self.rank, "dilation": ones, "output_padding": none}
        weight = self.tensor(c, out, *[kernel] * self.rank, scale=c**-0.5)
        self.add("conv_transpose", [v], out, level - 1, weight=weight, groups=1, **window)

    def graph(self) -> dict[str, Any]:
        given = {"name": "x", "channels": self.channels["x"], "rank": self.rank}
        return {"inputs": [given], "outputs": [self.nodes[-1]["output"]], "nodes": self.nodes}


def random_package(path: Path, seed: int, rank: int, widths: tuple[int, ...], nodes: int = 24) -> Path:
    """A package with a random network whose sizes are multiples of 4."""
    rng = np.random.default_rng(seed)
    maker = GraphMaker(rng, rank, widths)
    maker.conv("x")
    for _ in range(nodes):
        maker.grow()
    last = maker.pick()
    assert last is not None
    if rng.random() < 0.7:
        maker.conv(last, 2, 1)
    return write_package(path, maker.graph(), maker.tensors, multiple=[4] * rank)
