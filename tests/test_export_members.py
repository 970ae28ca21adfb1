"""Packages of several networks: what is written, what is refused, and that each network is one of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import covfast  # noqa: E402
from covfast import package  # noqa: E402
from covfast.errors import FormatError, ShapeError, ValueRangeError  # noqa: E402
from covfast.export import Member, export  # noqa: E402


def network(seed: int, inputs: int = 1, rank: int = 2) -> Any:
    torch.manual_seed(seed)
    conv = torch.nn.Conv2d if rank == 2 else torch.nn.Conv3d
    return torch.nn.Sequential(conv(inputs, 3, 3, padding=1), torch.nn.ReLU(), conv(3, 2, 1))


def write(path: Path, **options: Any) -> Path:
    given: dict[str, Any] = {"member": "fold_0", "members": {"fold_1": network(1)}, **options}
    return export(network(0), path / "model.covfast", (1, 1, 16, 24), **given)


def test_members_are_graphs_of_their_own_with_prefixed_tensors(tmp_path: Path) -> None:
    path = write(tmp_path, members={"fold_1": network(1), "low": Member(network(2, 3), (1, 3, 8, 8), 4)})
    metadata, tensors = package.read_metadata(path), package.read_tensors(path)
    assert (metadata["member"], [one["name"] for one in metadata["members"]]) == ("fold_0", ["fold_1", "low"])
    assert metadata["members"][1]["input"] == {"channels": 3, "rank": 2, "multiple": [4, 4], "size": None}
    for prefix, module in (("", network(0)), ("fold_1/", network(1)), ("low/", network(2, 3))):
        np.testing.assert_array_equal(tensors[f"{prefix}0.weight"], module[0].weight.detach().numpy())
    names = {node["weight"] for node in metadata["members"][0]["graph"]["nodes"] if node["op"] == "conv"}
    assert names == {"fold_1/0.weight", "fold_1/2.weight"}


def test_the_first_network_answers_as_without_members(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((1, 1, 9, 11), dtype=np.float32)
    with torch.no_grad():
        expected = network(0)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(covfast.load(write(tmp_path))(x), expected, atol=1e-5)


def test_summary_names_the_members(tmp_path: Path) -> None:
    assert "members     fold_0, fold_1" in package.summary(write(tmp_path))
    assert "members" not in package.summary(export(network(0), tmp_path / "one.covfast", (1, 1, 16, 24)))


@pytest.mark.parametrize(
    ("reason", "options"),
    [
        ("the name 'fold_0' twice", {"members": {"fold_0": network(1)}}),
        ("the name None", {"member": None}),
        ("the name '../x'", {"members": {"../x": network(1)}}),
        ("the name ''", {"member": ""}),
        ("module: got int", {"members": {"fold_1": 1}}),
        ("the member 'fold_2'", {"recipe": {"stages": [{"stage": "network", "members": ["fold_0", "fold_2"]}]}}),
        ("the member 'low'", {"recipe": {"stages": [{"stages": [{"stage": "network", "members": ["low"]}]}]}}),
    ],
)
def test_members_that_do_not_fit_raise(tmp_path: Path, reason: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueRangeError, match=reason):
        write(tmp_path, **options)
    assert os.listdir(tmp_path) == []


def test_members_of_another_rank_raise(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="5 axes"):
        write(tmp_path, members={"fold_1": Member(network(1, rank=3), (1, 1, 8, 8, 8))})


def test_a_recipe_that_does_not_open_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="recipe"):
        write(tmp_path, recipe={"version": 1, "stages": [{"stage": "orient", "to": "SPL"}]})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "change", [{"member": 1}, {"members": {}}, {"members": [1]}, {"members": [{"name": "fold_1"}]}]
)
def test_metadata_of_another_kind_raises(tmp_path: Path, change: dict[str, Any]) -> None:
    import json

    content = write(tmp_path).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    metadata = json.loads(header["__metadata__"]["covfast"])
    header["__metadata__"]["covfast"] = json.dumps({**metadata, **change})
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + 8) % 64)
    broken = tmp_path / "broken.covfast"
    broken.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    with pytest.raises(FormatError, match="member"):
        package.read_metadata(broken)
