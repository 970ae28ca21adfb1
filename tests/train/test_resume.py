"""A killed run goes on to the bits of an unkilled one; a disk that is full leaves the last good checkpoint."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from training import Toy, bright_squares, infection_table, run_until, same, toy_table  # noqa: E402

from covfast.errors import FormatError, OutputError, ValueRangeError  # noqa: E402
from covfast.train.logs import read_log  # noqa: E402
from covfast.train.loop import CHECKPOINT, Trainer, read_checkpoint, run, write  # noqa: E402
from covfast.train.systems.miniseg_infection import MiniSegInfection  # noqa: E402


def folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize("stop", [1, 4, 5, 7])
@pytest.mark.parametrize("prefetch", [0, 3])
def test_resumed_run_gives_the_weights_and_the_log_of_an_unkilled_one(tmp_path: Path, stop: int, prefetch: int) -> None:
    table = toy_table(prefetch=prefetch, interval=2)
    whole = run(Trainer(Toy(table)), folder(tmp_path / "whole")).state_dict()
    run_until(Trainer(Toy(table)), folder(tmp_path / "cut"), stop)
    torch.manual_seed(99)
    torch.rand(5)
    resumed = run(Trainer(Toy(table)), tmp_path / "cut").state_dict()
    assert same(whole, resumed)
    logs = [[(row["step"], row["loss"]) for row in read_log(tmp_path / k / "log.csv")] for k in ("whole", "cut")]
    assert logs[0] == logs[1]
    assert len(logs[0]) == 4


def test_miniseg_infection_resumes_to_the_same_bits(tmp_path: Path) -> None:
    def trainer() -> Trainer:
        return Trainer(MiniSegInfection(infection_table(), bright_squares()))

    whole = run(trainer(), folder(tmp_path / "whole")).state_dict()
    run_until(trainer(), folder(tmp_path / "cut"), 5)
    assert same(whole, run(trainer(), tmp_path / "cut").state_dict())


PROGRAM = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from training import Toy, toy_table
from covfast.train.loop import Trainer, run

class Slow(Toy):
    def loss(self, *rest):
        time.sleep(0.02)
        return super().loss(*rest)

run(Trainer(Slow(toy_table(), turns=200)), Path(sys.argv[1]))
"""


def test_process_killed_in_the_middle_resumes_to_the_same_bits(tmp_path: Path) -> None:
    cut, tests = folder(tmp_path / "cut"), str(Path(__file__).parents[1])
    child = subprocess.Popen([sys.executable, "-c", PROGRAM, str(cut), tests])
    try:
        limit = time.monotonic() + 60
        while not read_log(cut / "log.csv")[5:] and time.monotonic() < limit:
            time.sleep(0.01)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    reached = read_checkpoint(cut / CHECKPOINT)["step"]
    assert 10 <= reached < 200
    resumed = Trainer(Toy(toy_table(), turns=200))
    assert same(
        run(resumed, cut).state_dict(),
        run(Trainer(Toy(toy_table(), turns=200)), folder(tmp_path / "whole")).state_dict(),
    )


def test_finished_run_is_only_read(tmp_path: Path) -> None:
    first = run(Trainer(Toy(toy_table())), tmp_path).state_dict()
    before = (tmp_path / CHECKPOINT).stat().st_mtime_ns
    assert same(first, run(Trainer(Toy(toy_table())), tmp_path).state_dict())
    assert (tmp_path / CHECKPOINT).stat().st_mtime_ns == before


def test_full_disk_is_an_output_error_and_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    run_until(Trainer(Toy(toy_table())), tmp_path, 5)
    good = (tmp_path / CHECKPOINT).read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    heard = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))  # no file may grow beyond: what a full disk does to a write
    try:
        with pytest.raises(OutputError, match=CHECKPOINT):
            run(Trainer(Toy(toy_table())), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, heard)
    assert (tmp_path / CHECKPOINT).read_bytes() == good
    assert not list(tmp_path.glob(".covfast-*"))
    whole = run(Trainer(Toy(toy_table())), folder(tmp_path / "whole")).state_dict()
    assert same(whole, run(Trainer(Toy(toy_table())), tmp_path).state_dict())


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut short"])
def test_checkpoint_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(FormatError, match=CHECKPOINT):
        run(Trainer(Toy(toy_table())), tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == content


@pytest.mark.parametrize("state", [{}, [], {"dropout": [0], "model": {"strange": 1}}])
def test_readable_file_that_is_no_checkpoint_of_the_run_is_named(tmp_path: Path, state: Any) -> None:
    torch.save(state, tmp_path / CHECKPOINT)
    with pytest.raises(FormatError, match=rf"{CHECKPOINT}: got another content"):
        run(Trainer(Toy(toy_table())), tmp_path)


def test_checkpoint_of_more_processes_is_refused(tmp_path: Path) -> None:
    run_until(Trainer(Toy(toy_table())), tmp_path, 4)
    state: dict[str, Any] = read_checkpoint(tmp_path / CHECKPOINT)
    write({**state, "dropout": state["dropout"] * 2}, tmp_path / CHECKPOINT)
    with pytest.raises(ValueRangeError, match="2 of the checkpoint"):
        run(Trainer(Toy(toy_table())), tmp_path)
