"""Training of miniseg-ggo: the loss of the two types, its masks, its folds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training import cached, save, semiseg_folder, slices_of  # noqa: E402

from covfast.errors import FormatError, ShapeError, ValueRangeError  # noqa: E402
from covfast.train import read_recipe, train  # noqa: E402
from covfast.train.data import doctor_slices  # noqa: E402
from covfast.train.distributed import Share  # noqa: E402
from covfast.train.losses import any_lesion, lesion_type_loss  # noqa: E402
from covfast.train.recipe import with_fold  # noqa: E402
from covfast.train.systems.base import fold_sides  # noqa: E402
from covfast.train.systems.miniseg_lesions import CLASSES, MiniSegLesions, consolidation_masks  # noqa: E402

SMALL = {
    "input.size": 32, "optimisation.steps": 4, "optimisation.batch": 4, "optimisation.warmup": 1, "run.interval": 2,
    "run.validate_every": 4, "run.device": "cpu", "threads": 1, "split.folds": 2,
    "split.held_out": ["b"],
}  # fmt: skip


def example(seed: int = 0, n: int = 3) -> tuple[torch.Tensor, ...]:
    """Logits, lesion, consolidation and which slices are known; float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, 3, 4, 5, generator=generator, dtype=torch.float64)
    lesion = torch.rand(n, 1, 4, 5, generator=generator, dtype=torch.float64)
    known = torch.tensor([1.0, 0.0, 1.0][:n], dtype=torch.float64).reshape(n, 1, 1, 1)
    return logits, lesion, lesion * torch.rand(n, 1, 4, 5, generator=generator, dtype=torch.float64), known


def test_any_lesion_adds_the_two_probabilities() -> None:
    logits = example()[0]
    p = logits.softmax(1)
    assert torch.allclose(any_lesion(logits).softmax(1), torch.stack([p[:, 0], p[:, 1] + p[:, 2]], 1))


def test_lesion_type_loss_equals_its_formula() -> None:
    logits, lesion, consolidation, known = (x.numpy() for x in example())
    e = np.exp(logits)
    p, q = e / e.sum(1, keepdims=True), e[:, 1:] / e[:, 1:].sum(1, keepdims=True)
    t = np.concatenate([lesion - consolidation, consolidation], 1)
    which = known[:, 0, 0, 0] > 0
    expected = -(t * np.log(q))[which].sum() / lesion[which].sum()
    for c in (0, 1):
        both = (p[which, c + 1] * t[which, c]).sum()
        expected += 0.5 * (1 - (2 * both + 1) / (p[which, c + 1].sum() + t[which, c].sum() + 1))
    assert float(lesion_type_loss(*example())) == pytest.approx(expected, rel=1e-12)


def test_lesion_type_loss_passes_gradcheck() -> None:
    logits, *rest = example()
    assert torch.autograd.gradcheck(lambda x: lesion_type_loss(x, *rest), logits.requires_grad_())


def test_slices_of_unknown_type_teach_no_type() -> None:
    logits, lesion, consolidation, known = example()
    logits.requires_grad_()
    lesion_type_loss(logits, lesion, consolidation, known).backward()
    assert not logits.grad[1].any()
    assert logits.grad[0].any()
    assert float(lesion_type_loss(logits.detach(), lesion, consolidation, torch.zeros_like(known))) == 0.0


def test_lesion_type_loss_of_the_truth_is_near_zero_and_of_swapped_types_large() -> None:
    lesion, consolidation = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    lesion[..., 2:6, 2:6], consolidation[..., 2:4, 2:6] = 1.0, 1.0
    truth = torch.cat([1.0 - lesion, lesion - consolidation, consolidation], 1) * 40.0
    known = torch.ones(1, 1, 1, 1)
    assert float(lesion_type_loss(truth, lesion, consolidation, known)) < 1e-4
    assert float(lesion_type_loss(truth[:, [0, 2, 1]], lesion, consolidation, known)) > 10.0
    with pytest.raises(ShapeError, match="consolidation"):
        lesion_type_loss(truth, lesion, consolidation[..., 1:], known)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return semiseg_folder(tmp_path / "data", 6)


def test_consolidation_lies_inside_the_lesion_and_is_known_of_expert_slices_only(data: Path) -> None:
    slices = slices_of(data)
    types = consolidation_masks(data, slices)
    assert types.shape == slices.masks.shape
    assert not types[6:].any()
    for k in range(6):
        share = (types[k] >= 128).sum() / (slices.masks[k] >= 128).sum()
        assert 0.3 < share < 0.7
        assert not (types[k].astype(int) > slices.masks[k].astype(int) + 1).any()


@pytest.mark.parametrize(
    ("kind", "told"),
    [("value", r"1\.png: got the grey value 40"), ("size", r"1\.png: got 9x8 pixels"), ("missing", "no picture in GT")],
)
def test_class_mask_that_does_not_fit_is_named(data: Path, kind: str, told: str) -> None:
    path = data / CLASSES / "GT" / "1.png"
    if kind == "missing":
        path.unlink()
    else:
        save(np.full((64, 72), 40, np.uint8) if kind == "value" else np.zeros((9, 8), np.uint8), path)
    with pytest.raises(FormatError, match=told):
        consolidation_masks(data, slices_of(data))


def test_folds_hold_out_groups_and_the_volumes(data: Path, tmp_path: Path) -> None:
    folder, judged = cached(tmp_path / "run", data), []
    for fold in (0, 1):
        system = MiniSegLesions.open(with_fold(read_recipe("miniseg-ggo", SMALL), fold), data, folder)
        held = set(system.held.cases)
        assert "b" in held
        assert not held & set(system.slices.cases)
        judged += [name for name, kind in zip(system.held.names, system.held.kinds, strict=True) if kind == "doctor"]
        assert system.known.tolist() == [kind == "doctor" for kind in system.slices.kinds]
    assert sorted(judged) == list("012345")
    with pytest.raises(ValueRangeError, match=r"split\.held_out: got 'nowhere'"):
        MiniSegLesions.open(read_recipe("miniseg-ggo", {**SMALL, "split.held_out": ["nowhere"]}), data, folder)


def test_batch_has_both_masks_on_one_grid(data: Path, tmp_path: Path) -> None:
    changes = {**SMALL, "split.folds": 1, "optimisation.shares": {"doctor": 0.6, "aligned": 0.4}}
    system = MiniSegLesions.open(read_recipe("miniseg-ggo", changes), data, cached(tmp_path / "run", data))
    batch = system.draw(0, torch.Generator().manual_seed(1), Share())[0]
    assert batch["y"].shape == (4, 2, 32, 32)
    assert batch["known"].shape == (4, 1, 1, 1)
    assert bool((batch["y"][:, 1] <= batch["y"][:, 0] + 0.01).all())
    assert not batch["y"][batch["known"].flatten() == 0, 1].any()


def test_folds_train_in_folders_of_their_own(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for fold in (0, 1):
        cached(out / f"fold_{fold}", data)
    train("miniseg-ggo", data, out, SMALL, fold="all")
    for fold in (0, 1):
        record = json.loads((out / f"fold_{fold}" / "run.json").read_text())
        stage = next(iter(record["stages"].values()))
        assert not set(stage["splits"]["training"]) & set(stage["splits"]["validation"])
        assert 0.0 <= stage["best_score"] <= 1.0
        state = torch.load(out / f"fold_{fold}" / "miniseg-ggo.pt", weights_only=True)
        assert state["pred1.1.weight"].shape[0] == 3


def test_folds_of_the_recipe_judge_each_of_the_fifty_slices_once(data_dir: Path) -> None:
    table = read_recipe("miniseg-ggo")
    groups = {row[5]: row[3] for row in doctor_slices(data_dir)}
    judged = [
        name
        for fold in range(table["split"]["folds"])
        for name, group in groups.items()
        if group in fold_sides(list(groups.values()), with_fold(table, fold)["split"])[1]
    ]
    assert len(judged) == len(set(judged)) == len(groups) == 50
