"""Two processes train as one with the batch of both."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from training import PATCHES, Toy, lesion_folders, toy_table  # noqa: E402

from covfast.errors import ValueRangeError  # noqa: E402
from covfast.train import read_recipe, train  # noqa: E402
from covfast.train.distributed import Share, choose_device, joined  # noqa: E402
from covfast.train.logs import read_log  # noqa: E402
from covfast.train.loop import CHECKPOINT, WEIGHT, Trainer, read_checkpoint, run  # noqa: E402
from covfast.train.systems import relation  # noqa: E402

PROGRAM = """
import sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[1])
from test_distributed import Steady
from training import run_until, toy_table
from covfast.train.distributed import choose_device, joined
from covfast.train.loop import Trainer

torch.set_num_threads(1)
device = choose_device("cpu")
with joined(device) as share:
    run_until(Trainer(Steady(toy_table()), device, share), Path(sys.argv[2]), int(sys.argv[3]))
"""

SHIPPED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_distributed import THREE_LEVELS
from covfast.train import train

train("unet", sys.argv[2], sys.argv[3], THREE_LEVELS)
"""

THREE_LEVELS = {
    **PATCHES, "model.features": [4, 4, 6], "model.strides": ["1 1 1", "1 2 2", "2 2 2"], "run.validate_every": 0,
    "optimisation.iterations": 2,
}  # fmt: skip


class Steady(Toy):
    """The toy without dropout, whose masks are of each process its own; batches of 5, which two cannot halve."""

    def build(self) -> torch.nn.Module:
        return torch.nn.Sequential(*(part for part in super().build() if not isinstance(part, torch.nn.Dropout)))

    def draw(self, turn: int, generator: torch.Generator, share: Share) -> list[dict[str, torch.Tensor]]:
        x = torch.randn(5, 1, 8, 8, generator=generator)
        return [{"x": share.dealt(x), "y": share.dealt((x > 0).float()), WEIGHT: share.weight(5)}]


def launch(program: str, *arguments: object) -> None:
    """Two processes as torchrun starts them, meeting on a free port."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    here = Path(__file__).parent
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common["PYTHONPATH"] = os.pathsep.join([str(here.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", program, str(here), *map(str, arguments)]
    children = [
        subprocess.Popen(command, env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    for child in children:
        message = child.communicate(timeout=120)[1]
        assert child.returncode == 0, message.decode()[-2000:]


def test_two_processes_equal_one_with_the_whole_batch_also_after_a_kill(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    single = run(Trainer(Steady(toy_table())), tmp_path / "one").state_dict()
    launch(PROGRAM, tmp_path / "two", 5)
    held = read_checkpoint(tmp_path / "two" / CHECKPOINT)
    assert (held["step"], len(held["dropout"])) == (4, 2)
    launch(PROGRAM, tmp_path / "two", 8)
    double = read_checkpoint(tmp_path / "two" / CHECKPOINT)["model"]
    assert all(torch.allclose(single[name], double[name], rtol=0, atol=1e-6) for name in single)
    assert [row["step"] for row in read_log(tmp_path / "two" / "log.csv")] == ["2", "4", "6", "8"]


def test_two_processes_train_a_unet_of_three_levels_as_one_does(tmp_path: Path) -> None:
    data = lesion_folders(tmp_path / "data", ("covid",))
    single = torch.load(train("unet", data, tmp_path / "one", THREE_LEVELS), weights_only=True)
    launch(SHIPPED, data, tmp_path / "two")
    double = torch.load(tmp_path / "two" / "unet.pt", weights_only=True)
    assert all(torch.allclose(single[name], double[name], rtol=0, atol=1e-5) for name in single)


def test_parts_of_any_batch_are_dealt_whole_and_weigh_what_they_hold() -> None:
    for count, world in ((5, 2), (3, 4), (1, 2), (8, 3)):
        shares = [Share(rank, world) for rank in range(world)]
        weights = [float(share.weight(count)) for share in shares]
        assert sum(weights) == pytest.approx(world)
        values = torch.arange(1.0, count + 1)
        means = [float(share.dealt(values).mean()) for share in shares]
        total = sum(weight * mean for weight, mean in zip(weights, means, strict=True)) / world
        assert total == pytest.approx(float(values.mean()))
    assert Share(1, 2).dealt(torch.arange(5)).tolist() == [2, 3, 4]


def test_relations_need_two_samples_in_every_process() -> None:
    table = read_recipe("relation")
    relation.check_samples(table, Share())
    with pytest.raises(ValueRangeError, match=r"batch: got 2 for 2 processes, expected 4 or more"):
        relation.check_samples(table, Share(0, 2))
    relation.check_samples(read_recipe("relation", {"relation.between": "channels"}), Share(0, 2))


def test_share_is_the_process_part_in_order() -> None:
    values = torch.arange(6)
    parts = [Share(rank, 3).of(values).tolist() for rank in range(3)]
    assert parts == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(ValueRangeError, match="multiple of the 4 processes"):
        Share(0, 4).of(values)


def test_alone_there_is_nothing_to_join(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined(choose_device("cpu")) as share:
        assert share == Share()
        assert share.gather(5) == [5]
        assert share.first("a") == "a"
