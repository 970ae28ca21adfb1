"""Layers: shapes as the engine gives them, costs counted by hand and as published, and the table that shows them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine.conftest import normal, small_graph, small_tensors, wide_graph, wide_tensors, write_package
from engine.test_graph import OPS, one

import covfast
from covfast import ShapeError, ValueRangeError, layers, package, shapes
from covfast.cli import main


@pytest.mark.parametrize("case", OPS)
def test_shape_of_each_op_is_that_of_a_run(tmp_path: Path, case: str) -> None:
    node, tensors, _ = OPS[case]
    net = one(tmp_path, node, **tensors)
    held = {name: tensor.shape for name, tensor in tensors.items()}
    for size in ((13, 17),) if case.startswith("adaptive") else ((13, 17), (8, 9)):
        found = shapes.infer(net.metadata["graph"], held, size)
        assert found["y"] == net(normal(1, 4, *size)).shape[1:]


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("window", [([2, 2], [2, 2], [0, 0]), ([3, 3], [2, 3], [1, 1]), ([2, 1], [3, 4], [1, 0])])
def test_shape_of_a_pooling_is_that_of_a_run(tmp_path: Path, window: Any, ceil_mode: bool) -> None:
    kernel, stride, padding = window
    node = {"op": "avg_pool", "kernel": kernel, "stride": stride, "padding": padding, "count_include_pad": True}
    net = one(tmp_path, {**node, "ceil_mode": ceil_mode})
    for height in range(3, 12):
        found = shapes.infer(net.metadata["graph"], {}, (height, height + 2))
        assert found["y"] == net(normal(1, 4, height, height + 2)).shape[1:]


@pytest.mark.parametrize("case", ["small", "wide"])
def test_shapes_of_networks_are_those_of_runs(tmp_path: Path, case: str) -> None:
    of = {"small": (small_graph(), small_tensors(), (21, 18)), "wide": (wide_graph(), wide_tensors(), (3, 22, 16))}
    graph, tensors, size = of[case]
    net = covfast.load(write_package(tmp_path / "m.covfast", graph, tensors), device="cpu")
    found = shapes.infer(graph, {name: tensor.shape for name, tensor in tensors.items()}, size)
    assert found["y"] == net(normal(1, graph["inputs"][0]["channels"], *size)).shape[1:]


def test_costs_are_those_counted_by_hand(tmp_path: Path) -> None:
    path = write_package(tmp_path / "m.covfast", small_graph(), small_tensors())
    contents = package.read_verified(path)
    rows = {row.name: row for row in layers.layers(contents.metadata, contents.shapes, (20, 20))}
    conv = rows["wa"]
    assert conv.op == "conv 3x3 /2"
    assert conv.output == (4, 10, 10)
    assert conv.parameters == 4 * 3 * 9 + 4
    assert conv.flops == 2 * 4 * 3 * 9 * 100
    assert conv.moved_bytes == 4 * (3 * 400 + 4 * 100 + 112)
    assert rows["wc"].op == "conv 3x3 g4"
    assert (rows["e"].flops, rows["e"].moved_bytes) == (0, 4 * 3 * 400)
    assert rows["y"].moved_bytes == 4 * (2 * 100 + 2 * 400)  # of the second input only the size is taken


def test_transposed_convolution_costs_its_inputs_positions() -> None:
    node = {"op": "conv_transpose", "weight": "w"}
    assert shapes.multiply_adds(node, [(4, 5, 6)], (8, 10, 12), {"w": (4, 8, 2, 2)}) == 4 * 8 * 4 * 30


def test_miniseg_costs_what_is_published(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from covfast.lowering import Lowering
    from covfast.lowering_ops import OPS as LOWERED

    sample = torch.zeros(2, 3, 64, 64)
    free = ({0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO},)
    module = covfast.models.MiniSeg().eval()
    low = Lowering(torch.export.export(module, (sample,), dynamic_shapes=free, strict=False), LOWERED)
    graph = {"inputs": [{"name": low.input_name, "channels": 3, "rank": 2}], "nodes": low.nodes}
    held = {name: tensor.shape for name, tensor in low.tensors.items()}
    found = shapes.infer(graph, held, (512, 512))
    products = [
        shapes.multiply_adds(node, [found[name] for name in node["inputs"]], found[node["output"]], held)
        for node in low.nodes
    ]
    assert round(sum(products) / 1e9, 4) == 0.4766


def test_typical_size_is_the_contracts_or_the_least_multiple() -> None:
    contract = {"rank": 3, "multiple": [8, 16, 48], "size": None}
    assert shapes.typical_size(contract) == (64, 64, 96)
    assert shapes.typical_size({"rank": 2, "multiple": [1, 5], "size": None}) == (256, 260)
    assert shapes.typical_size({**contract, "size": [40, 192, 160]}) == (40, 192, 160)


def test_summary_shows_layers_and_their_sums(tmp_path: Path) -> None:
    path = write_package(tmp_path / "m.covfast", small_graph(), small_tensors())
    lines = covfast.load(path, device="cpu").summary((20, 20)).splitlines()
    row = next(line for line in lines if line.startswith("wa "))
    assert row.split() == ["wa", "conv", "3x3", "/2", "4x10x10", "112", "0.022", "0.007"]
    flops = 2 * (4 * 27 * 100 + 4 * 9 * 100 + 16 * 100)
    assert lines[-2].startswith(f"8 layers, 168 parameters, {flops / 1e9:.4f} GFLOP, ")
    assert lines[-2].endswith(", input 3x20x20")
    assert "3x256x256" in covfast.load(path, device="cpu").summary()


def test_summary_of_a_size_that_does_not_fit_raises(tmp_path: Path) -> None:
    path = write_package(tmp_path / "m.covfast", small_graph(), small_tensors(), multiple=[4, 8])
    net = covfast.load(path, device="cpu")
    for size, match in (((16,), "2 numbers"), ((16, 12), "multiples of"), ((0, 8), "2 numbers")):
        with pytest.raises(ShapeError, match=f"size: got .*expected {match}"):
            net.summary(size)
    fixed = covfast.load(write_package(path, small_graph(), small_tensors(), size=[16, 16]), device="cpu")
    assert "3x16x16" in fixed.summary()
    with pytest.raises(ShapeError, match=r"expected \(16, 16\)"):
        fixed.summary((32, 32))


def test_summary_where_the_typical_size_does_not_fit_says_so(tmp_path: Path) -> None:
    net = one(tmp_path, {"op": "pad", "before": [-200, 0], "after": [-200, 0], "value": 0.0})
    assert "layers      not known at a typical size: size: got (256, 256)" in net.summary()
    assert "4x500x20" in net.summary((500, 20))


def test_shapes_of_an_unknown_op_or_of_sizes_without_end_raise() -> None:
    graph = {
        "inputs": [{"name": "x", "channels": 1, "rank": 2}],
        "nodes": [{"op": "warp", "inputs": ["x"], "output": "y"}],
    }
    with pytest.raises(ValueRangeError, match="op: got 'warp'"):
        shapes.infer(graph, {}, (4, 4))
    up = {"op": "resize_nearest", "factor": [1e3, 1e3], "exact": False}
    nodes = [{**up, "inputs": [f"v{i}"], "output": f"v{i + 1}"} for i in range(9)]
    with pytest.raises(ShapeError, match="size: got"):
        shapes.infer({"inputs": [{"name": "v0", "channels": 1, "rank": 2}], "nodes": nodes}, {}, (64, 64))


def test_inspect_prints_the_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_package(tmp_path / "m.covfast", small_graph(), small_tensors())
    assert main(["inspect", str(path), "--size", "40", "24"]) == 0
    assert "input 3x40x24" in capsys.readouterr().out
    assert main(["inspect", str(path), "--size", "40"]) == ShapeError.exit_code
    assert "size: got (40,)" in capsys.readouterr().err
    np.save(tmp_path / "scan.npy", np.zeros((4, 4, 4), np.int16))
    assert main(["inspect", str(tmp_path / "scan.npy"), "--size", "4"]) == ValueRangeError.exit_code


def test_costs_of_networks_add_up(tmp_path: Path) -> None:
    contents = package.read_verified(write_package(tmp_path / "m.covfast", wide_graph(), wide_tensors()))
    rows = layers.layers(contents.metadata, contents.shapes)
    assert sum(row.parameters for row in rows) >= sum(map(math.prod, contents.shapes.values()))
