"""Two processes train as one with the batch of both."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from training import Toy, toy_table  # noqa: E402

from covfast.errors import ValueRangeError  # noqa: E402
from covfast.train.distributed import Share, choose_device, joined  # noqa: E402
from covfast.train.logs import read_log  # noqa: E402
from covfast.train.loop import CHECKPOINT, Trainer, read_checkpoint, run  # noqa: E402

PROGRAM = """
import sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[1])
from test_distributed import Steady
from training import toy_table
from covfast.train.distributed import choose_device, joined
from covfast.train.loop import Trainer, run

torch.set_num_threads(1)
device = choose_device("cpu")
with joined(device) as share:
    run(Trainer(Steady(toy_table()), device, share), Path(sys.argv[2]), stop_at=int(sys.argv[3]))
"""


class Steady(Toy):
    """The toy without dropout, whose masks are of each process its own."""

    def build(self) -> torch.nn.Module:
        return torch.nn.Sequential(*(part for part in super().build() if not isinstance(part, torch.nn.Dropout)))


def launch(out: Path, stop: int) -> None:
    """Two processes as torchrun starts them, meeting on a free port."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    here = Path(__file__).parent
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common["PYTHONPATH"] = os.pathsep.join([str(here.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", PROGRAM, str(here), str(out), str(stop)]
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
    launch(tmp_path / "two", 5)
    held = read_checkpoint(tmp_path / "two" / CHECKPOINT)
    assert (held["step"], len(held["dropout"])) == (4, 2)
    launch(tmp_path / "two", 8)
    double = read_checkpoint(tmp_path / "two" / CHECKPOINT)["model"]
    assert all(torch.allclose(single[name], double[name], rtol=0, atol=1e-6) for name in single)
    assert [row["step"] for row in read_log(tmp_path / "two" / "log.csv")] == ["2", "4", "6", "8"]


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
