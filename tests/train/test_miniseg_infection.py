"""Training of miniseg-infection in its two stages: what each draws, and that all folds share the first."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from training import cached, same, semiseg_folder  # noqa: E402

from covfast.errors import ValueRangeError  # noqa: E402
from covfast.train import train  # noqa: E402
from covfast.train.loop import read_checkpoint  # noqa: E402

SMALL = {
    "input.size": 32, "optimisation.steps": 3, "optimisation.batch": 4, "optimisation.warmup": 1, "run.interval": 2,
    "refinement.steps": 2, "refinement.warmup": 0, "run.device": "cpu", "threads": 1, "split.folds": 2,
    "split.held_out": ["b"], "run.package": False,
}  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return semiseg_folder(tmp_path / "data", 6)


def averages(folder: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(folder / "checkpoint.pt")["average"]


def test_folds_share_the_first_stage_and_refine_it_each_for_itself(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for fold in (0, 1):
        cached(out / f"fold_{fold}", data)
    train("miniseg-infection", data, out, SMALL, fold="all")
    one, other = (out / f"fold_{fold}" for fold in (0, 1))
    assert same(averages(one / "base"), averages(other / "base"))
    for folder in (one, other):
        kept = torch.load(folder / "miniseg-infection.pt", weights_only=True)
        assert same(kept, averages(folder / "refinement"))
        assert not same(kept, averages(folder / "base"))
        stages = json.loads((folder / "run.json").read_text())["stages"]
        assert [stages[name]["steps"] for name in ("base", "refinement")] == [3, 2]
        assert stages["refinement"]["recipe"]["optimisation"]["shares"]["doctor"] == 0.5
        assert stages["base"]["splits"]["training"] == ["a"]  # no expert slices
        assert len(stages["refinement"]["splits"]["training"]) > 1
    assert not same(averages(one / "refinement"), averages(other / "refinement"))


def test_refinement_begins_with_the_weights_of_the_first_stage(data: Path, tmp_path: Path) -> None:
    out = cached(tmp_path / "out", data)
    still = {"refinement.steps": 1, "refinement.rate": 1e-12, "optimisation.decay": 0.0}
    train("miniseg-infection", data, out, {**SMALL, **still})
    before, after = averages(out / "base"), read_checkpoint(out / "refinement" / "checkpoint.pt")["model"]
    weights = [name for name in before if name.endswith("weight")]
    assert all(torch.allclose(before[name], after[name], atol=1e-9) for name in weights)


def test_without_refinement_there_is_one_stage_in_the_folder_itself(data: Path, tmp_path: Path) -> None:
    out = cached(tmp_path / "out", data)
    train("miniseg-infection", data, out, {**SMALL, "refinement.steps": 0})
    assert (out / "checkpoint.pt").exists()
    assert not (out / "base").exists()


def test_fold_that_does_not_exist_and_shares_of_nothing_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueRangeError, match="fold: got 2, expected 0 to 1"):
        train("miniseg-infection", data, tmp_path / "a", SMALL, fold=2)
    with pytest.raises(ValueRangeError, match=r"refinement\.shares: got .*'png': 0\.0"):
        train("miniseg-infection", data, cached(tmp_path / "b", data), {**SMALL, "refinement.shares": {"png": 0.0}})
    assert not (tmp_path / "b" / "base").exists()


def test_best_weights_need_expert_slices_that_are_held_out(data: Path, tmp_path: Path) -> None:
    best = {**SMALL, "run.keep": "best", "run.validate_every": 1, "split.folds": 1}
    with pytest.raises(ValueRangeError, match=r"run\.keep: got best without a validation"):
        train("miniseg-infection", data, cached(tmp_path / "out", data), best)


class Kill(Exception):
    pass


def test_run_killed_in_its_second_stage_ends_with_the_same_weights(data: Path, tmp_path: Path) -> None:
    changes = {**SMALL, "run.interval": 1, "refinement.steps": 3}
    whole = torch.load(train("miniseg-infection", data, cached(tmp_path / "whole", data), changes), weights_only=True)
    turns = []

    def kill(name: str, done: int, total: int) -> None:
        turns.append(done)
        if turns == [1, 2, 3, 1, 2]:
            raise Kill

    out = cached(tmp_path / "cut", data)
    with pytest.raises(Kill):
        train("miniseg-infection", data, out, changes, progress=kill)
    assert same(whole, torch.load(train("miniseg-infection", data, out, changes), weights_only=True))


def test_finished_first_stage_may_be_copied_and_is_only_read(data: Path, tmp_path: Path) -> None:
    one = cached(tmp_path / "one", data)
    train("miniseg-infection", data, one, {**SMALL, "split.folds": 1})
    other = cached(tmp_path / "other" / "fold_1", data)
    shutil.copytree(one / "base", other / "base")
    before = (other / "base" / "checkpoint.pt").read_bytes()
    train("miniseg-infection", data, tmp_path / "other", SMALL, fold=1)
    assert (other / "base" / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"optimisation.steps": 4}, "optimisation.steps"),
        ({"optimisation.shares": {"doctor": 1.0, "aligned": 1.0}}, "cases"),
        ({"seed": 7}, "seed"),
    ],
)
def test_first_stage_of_another_training_is_refused(
    data: Path, tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    one = cached(tmp_path / "one", data)
    train("miniseg-infection", data, one, {**SMALL, **changes})
    other = cached(tmp_path / "other", data)
    shutil.copytree(one / "base", other / "base")
    with pytest.raises(ValueRangeError, match=f"^{named}: .*as the unfinished run there"):
        train("miniseg-infection", data, other, SMALL)
