"""Every system end to end on small data: it trains, resumes to the same bits, refuses what does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

torch = pytest.importorskip("torch")

from training import DUAL, INFNET, PATCHES, RUNS, SEMISEG, lesion_folders, same, save, semiseg_folder  # noqa: E402

from covfast.errors import FormatError, ValueRangeError, WeightsError  # noqa: E402
from covfast.protocols.splits import Fold  # noqa: E402
from covfast.train import read_recipe, train  # noqa: E402
from covfast.train.data import doctor_slices  # noqa: E402
from covfast.train.distributed import Share  # noqa: E402
from covfast.train.losses import one_hot_channels  # noqa: E402
from covfast.train.systems import cases, infnet, infnet_multiclass, miniseg, semi_infnet, transfer, unet  # noqa: E402
from covfast.train.systems.base import Epochs, fold_sides  # noqa: E402
from covfast.train.systems.edges import mask_edge  # noqa: E402
from covfast.train.systems.pictures import Part, Pictures  # noqa: E402


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lesion_folders(semiseg_folder(tmp_path_factory.mktemp("data"), 6, 4))


class Kill(Exception):
    pass


@pytest.mark.parametrize("name", list(RUNS))
def test_system_trains_and_a_killed_run_ends_with_the_same_weights(name: str, data: Path, tmp_path: Path) -> None:
    turns: list[int] = []
    whole = train(name, data, tmp_path / "whole", RUNS[name], progress=lambda *turn: turns.append(turn[1]))
    state = torch.load(whole, weights_only=True)
    assert all(bool(torch.isfinite(value).all()) for value in state.values())
    left = {0: len(turns) // 2}

    def count(stage: str, done: int, total: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Kill

    with pytest.raises(Kill):
        train(name, data, tmp_path / "cut", RUNS[name], progress=count)
    assert not (tmp_path / "cut" / whole.name).exists()
    resumed = torch.load(train(name, data, tmp_path / "cut", RUNS[name]), weights_only=True)
    assert same(state, resumed)
    record = json.loads((tmp_path / "cut" / "run.json").read_text())
    assert record["status"] == "done"
    first = next(iter(record["stages"].values()))
    assert first["files"]
    assert not set(first["splits"].get("training", ())) & set(first["splits"].get("validation", ()))


def test_infnet_takes_the_published_sizes_steps_and_rates(data: Path) -> None:
    table = read_recipe("infnet")
    system = infnet.InfNetSystem(table, *infnet.labelled(table, data))
    assert system.sizes == [256, 352, 448]
    assert system.steps_a_turn == 3
    assert system.order.batch == 6  # of the six slices here; the recipe's 24 of more
    assert table["optimisation"]["batch"] == 24
    assert [system.rate(step) for step in (0, 3 * 48, 3 * 49)] == pytest.approx([1e-4, 1e-4, 1e-5])
    groups = system.optimiser(system.build()).param_groups
    assert [group["betas"] for group in groups] == [(0.9, 0.999)]


def infnet_system(data: Path, **changes: Any) -> infnet.InfNetSystem:
    table = read_recipe("infnet", {**INFNET, "split.folds": 1, **changes})
    return infnet.InfNetSystem(table, *infnet.labelled(table, data))


@pytest.mark.parametrize(("fidelity", "epochs"), [("code", 99), ("paper", 100)])
def test_infnet_epochs_and_decay_of_code_and_paper(data: Path, fidelity: str, epochs: int) -> None:
    system = infnet_system(data, **{"optimisation.epochs": 100, "fidelity": fidelity, "optimisation.rate": 1.0})
    each = system.steps_a_turn * system.order.length
    assert (system.turns, each) == (epochs * 2, 4)
    rates = [system.rate(each * epoch) for epoch in range(epochs)]
    if fidelity == "code":  # epoch 1 is the first: number 49 is epoch 50
        assert rates[48:52] == pytest.approx([1.0, 0.1, 0.01, 0.001])
    else:
        assert rates[48:52] == pytest.approx([1.0, 1.0, 0.1, 0.1])


def test_infnet_batch_is_the_normalised_slice_at_every_size(data: Path) -> None:
    system = infnet_system(data)
    batches = system.draw(0, torch.Generator(), Share())
    assert [tuple(batch["image"].shape) for batch in batches] == [(3, 3, 64, 64), (3, 3, 96, 96)]
    which = system.order.indices(0).tolist()
    expected = (system.train.stack("image", which)[:, 1] - 0.456) / 0.224
    assert torch.allclose(batches[0]["image"][:, 1], expected, atol=1e-6)
    assert batches[1]["edge"].shape == batches[1]["mask"].shape == (3, 1, 96, 96)


def test_infnet_starts_from_a_backbone_in_the_data_folder(data: Path, tmp_path: Path) -> None:
    system = infnet_system(data)
    backbone = {key: value + 1 for key, value in system.build().resnet.state_dict().items()}
    torch.save(backbone, data / "backbone.pth")
    context = type("Context", (), {"table": {**system.table, "model": {"backbone": "backbone.pth"}}, "data": data})
    state = infnet.beginning(context, system)
    assert torch.equal(state["resnet.bn1.weight"], backbone["bn1.weight"])
    context.table["model"]["backbone"] = "absent.pth"
    with pytest.raises(FormatError, match="absent"):
        infnet.beginning(context, system)
    context.table["model"]["backbone"] = "torn.pth"
    (data / "torn.pth").write_bytes(b"no archive")
    with pytest.raises(FormatError, match=r"torn\.pth: .*model\.backbone names it"):
        infnet.beginning(context, system)
    torch.save([1], data / "torn.pth")
    with pytest.raises(WeightsError, match=r"torn\.pth: got list"):
        infnet.beginning(context, system)


def test_backbone_is_in_the_record(data: Path) -> None:
    (data / "some.pth").write_bytes(b"")
    table = read_recipe("infnet", {**INFNET, "model.backbone": "some.pth"})
    context = type("Context", (), {"table": table, "data": data})
    system = infnet.InfNetSystem(table, *infnet.labelled(table, data), infnet.backbone(context))
    assert data / "some.pth" in system.files()


def test_semi_infnet_groups_are_drawn_by_the_seed_and_lose_no_slice() -> None:
    table = read_recipe("semi-infnet", {"propagation.group": 5})
    names = [str(k) for k in range(23)]
    groups = semi_infnet.drawn_groups(names, table)
    assert [len(group) for group in groups] == [5, 5, 5, 5, 3]
    assert sorted(name for group in groups for name in group) == sorted(names)
    assert groups == semi_infnet.drawn_groups(names, table)
    assert groups != semi_infnet.drawn_groups(names, {**table, "seed": 1})
    with pytest.raises(ValueRangeError, match="at most 5"):
        semi_infnet.drawn_groups(names, read_recipe("semi-infnet", {"propagation.rounds": 6}))
    with pytest.raises(ValueRangeError, match="23 slices"):
        semi_infnet.drawn_groups(names, read_recipe("semi-infnet", {"data.unlabelled_count": 24}))


def test_picture_that_an_earlier_round_decoded_is_not_decoded_again(data: Path) -> None:
    part = {"image": Part(data / SEMISEG / "LungInfection-Train" / "Pseudo-label" / "Imgs", 3)}
    first, second = Pictures(part, 32, ["scan_0", "scan_1"]), Pictures(part, 32, ["scan_1", "scan_2"])
    held = [first.pixels("image", name) for name in first.names]
    second.carry(first)
    assert second.pixels("image", "scan_1") is held[1]
    assert ("image", "scan_0") not in second._held


def test_pseudo_label_is_stretched_to_the_whole_range() -> None:
    grey = semi_infnet.stretched(torch.tensor([[0.2, 0.3], [0.4, 0.6]]))
    assert grey.tolist() == [[0, 64], [127, 255]]  # 0.5 a little below, for the 1e-8 in the range
    assert semi_infnet.stretched(torch.full((2, 2), 0.7)).tolist() == [[0, 0], [0, 0]]


def test_edge_of_a_mask_is_thin_closed_and_at_its_border() -> None:
    mask = np.zeros((20, 20), bool)
    mask[5:12, 6:15] = True
    edge = mask_edge(mask) > 0
    inner = np.zeros_like(mask)
    inner[6:11, 7:14] = True
    outer = np.zeros_like(mask)
    outer[4:13, 5:16] = True
    assert edge.any()
    assert not edge[inner].any()
    assert not edge[~outer].any()
    assert edge[:, 10].sum() == edge[8, :].sum() == 2
    assert not mask_edge(np.zeros((8, 8), bool)).any()


def test_multiclass_labels_come_from_the_grey_values(data: Path) -> None:
    folder = data / SEMISEG / "MultiClassInfection-Train"
    parts = {
        "image": Part(folder / "Imgs", 3),
        "prior": Part(folder / "Prior"),
        "mask": Part(folder / "GT", nearest=True),
    }
    pictures = Pictures(parts, 32)
    system = infnet_multiclass.MultiClassSystem(read_recipe("infnet-multiclass"), pictures, pictures.names)
    labels = system.labels(["0"])
    grey = pictures.pixels("mask", "0")
    assert set(labels.unique().tolist()) == {0, 1, 2}
    assert np.array_equal(labels[0].numpy() == 2, grey[0] == 75)
    assert system.inputs(["0", "1"]).shape == (2, 6, 32, 32)


@pytest.mark.parametrize("fidelity", ["code", "paper"])
def test_multiclass_network_that_is_right_scores_1(fidelity: str, data: Path) -> None:
    folder = data / SEMISEG / "MultiClassInfection-Train"
    parts = {key: Part(folder / name, nearest=True) for key, name in (("image", "Imgs"), ("prior", "Prior"))}
    pictures = Pictures({**parts, "mask": Part(folder / "GT", nearest=True)}, 32)
    table = read_recipe("infnet-multiclass", {"fidelity": fidelity})
    system = infnet_multiclass.MultiClassSystem(table, pictures, ["1"], ["0"])

    class Right(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return one_hot_channels(system.labels(["0"]), 3, "paper")

    assert system.validate(Right(), torch.device("cpu")) == 1.0
    labels = system.labels(["0"])
    unlike = (one_hot_channels(labels, 3, fidelity) != one_hot_channels(labels, 3, "paper")).any(1).float().mean()
    assert (0.0 < unlike < 0.2) if fidelity == "code" else unlike == 0.0


def miniseg_system(data: Path, **changes: Any) -> miniseg.MiniSegSystem:
    table = read_recipe("miniseg-paper", {**RUNS["miniseg-paper"], **changes})
    parts = {
        "image": Part(data / table["data"]["images"], 3),
        "mask": Part(data / table["data"]["masks"], nearest=True),
    }
    pictures = Pictures(parts, None)
    return miniseg.MiniSegSystem(table, pictures, pictures.names)


def test_miniseg_passes_over_the_scales_and_weighs_classes_as_enet(data: Path) -> None:
    system = miniseg_system(data, **{"input.size": 512})
    sizes = [system.draw(turn, torch.Generator(), Share())[0]["x"].shape[-1] for turn in range(0, 12, 3)]
    assert sizes == [768, 640, 384, 512]
    assert system.turns == 12
    # Six masks with 24 x 24 pixels of foreground, three of 64 x 64 and three of 64 x 72 pixels.
    share = 6 * 24 * 24 / (3 * 64 * 64 + 3 * 64 * 72)
    assert system.weights == pytest.approx([1 / np.log(1.1 + 1 - share), 1 / np.log(1.1 + share)], rel=1e-6)
    assert [miniseg.largest_crop(512, scale) for scale in (1.5, 1.0, 0.75)] == [50, 16, 16]
    assert miniseg.largest_crop(256, 1.25) == 25
    assert system.rate(6) == pytest.approx(1e-3 * 0.5**0.9)


@pytest.mark.parametrize(("fidelity", "axis"), [("code", 1), ("paper", 2)])
def test_miniseg_flips_rows_as_the_code_or_columns_as_the_paper(data: Path, fidelity: str, axis: int) -> None:
    changes = {"fidelity": fidelity, "augmentation.flip": 1.0, "augmentation.crop": 0.0, "optimisation.batch": 1}
    system = miniseg_system(data, **changes)
    batch = system.draw(0, torch.Generator(), Share())[0]
    x, y = system.sample(system.train[int(system.order.indices(0))], 48)
    assert torch.equal(batch["x"][0], x.flip(axis))
    assert torch.equal(batch["y"][0], y.flip(axis)[0].long())


@pytest.mark.parametrize(
    ("changes", "every", "keep"),
    [
        ({}, 12, "last"),
        ({"fidelity": "paper"}, 12, "best"),
        ({"fidelity": "paper", "run.keep": "last"}, 12, "last"),
        ({"fidelity": "code", "run.keep": "best"}, 12, "best"),
        ({"fidelity": "paper", "run.validate_every": 5}, 5, "best"),
        ({"fidelity": "paper", "run.validate_every": 0}, 0, "last"),
    ],
)
def test_miniseg_keeps_the_epoch_of_code_or_paper_unless_the_recipe_says_which(
    changes: dict[str, Any], every: int, keep: str
) -> None:
    table = read_recipe("miniseg-paper", changes)
    found = miniseg.chosen_epoch(table, 12)
    assert (found["validate_every"], found["keep"]) == (every, keep)
    assert {**found, "validate_every": -1, "keep": ""} == {**table["run"], "validate_every": -1, "keep": ""}


def test_miniseg_without_a_held_out_side_keeps_the_last_epoch(data: Path) -> None:
    run = miniseg_system(data, **{"fidelity": "paper", "run.validate_every": -1}).table["run"]
    assert (run["validate_every"], run["keep"]) == (0, "last")


def test_miniseg_as_the_paper_is_looked_at_once_an_epoch_and_keeps_the_best(data: Path, tmp_path: Path) -> None:
    changes = {"fidelity": "paper", "run.validate_every": -1, "optimisation.epochs": 2, "optimisation.scales": [1.0]}
    train("miniseg-paper", data, tmp_path, {**RUNS["miniseg-paper"], **changes})
    stage = json.loads((tmp_path / "run.json").read_text())["stages"]["miniseg-paper"]
    assert (stage["recipe"]["run"]["validate_every"], stage["recipe"]["run"]["keep"]) == (2, "best")
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:] if row.split(",")[-1]] == ["2", "4"]
    kept = torch.load(tmp_path / "miniseg-paper.pt", weights_only=True)
    assert same(kept, torch.load(tmp_path / "best.pt", weights_only=True))


def test_epochs_pass_over_every_sample_and_restart_alike() -> None:
    order = Epochs(7, 3, seed=1, drops_last=False)
    first = torch.cat([order.indices(turn) for turn in range(order.length)])
    assert sorted(first.tolist()) == list(range(7))
    assert torch.equal(Epochs(7, 3, 1, False).indices(4), order.indices(4))
    assert Epochs(7, 3, 1).length == 2
    assert Epochs(2, 5, 1).length == 1


def test_folds_share_no_case_and_leave_none_out() -> None:
    cases = [f"case_{k}" for k in range(11)]
    held = []
    for fold in range(3):
        inside, outside = fold_sides(cases, {"folds": 3, "fold": fold, "seed": 4})
        assert not set(inside) & set(outside)
        assert len(inside) + len(outside) == 11
        held += outside
    assert sorted(held) == sorted(cases)
    assert fold_sides(cases, {"folds": 1, "fold": 0, "seed": 0}) == (sorted(cases), [])
    with pytest.raises(ValueRangeError, match="11 cases"):
        fold_sides(cases, {"folds": 12, "fold": 0, "seed": 0})


def broken(kind: str, root: Path) -> None:
    folder = semiseg_folder(root) / SEMISEG / "LungInfection-Train" / "Doctor-label"
    multi = root / SEMISEG / "MultiClassInfection-Train"
    if kind == "missing":
        (folder / "GT" / "3.png").unlink()
    elif kind == "extra":
        save(np.zeros((8, 8), np.uint8), folder / "Edge" / "99.png")
    elif kind == "corrupt":
        (folder / "GT" / "2.png").write_bytes(b"\x89PNG no more")
    elif kind == "size":
        save(np.zeros((9, 8), np.uint8), folder / "GT" / "2.png")
    elif kind == "labels":
        save(np.full((64, 72), 40, np.uint8), multi / "GT" / "1.png")
    elif kind == "empty":
        for path in (folder / "Imgs").iterdir():
            path.unlink()


@pytest.mark.parametrize(
    ("kind", "recipe", "told"),
    [
        ("missing", "infnet", r"3: got no picture in GT"),
        ("extra", "infnet", r"99\.png: got a file in Edge"),
        ("corrupt", "infnet", r"2\.png: got UnidentifiedImageError"),
        ("size", "infnet", r"2\.png: got 9x8 pixels, expected the 64x64"),
        (
            "labels",
            "infnet-multiclass",
            r"1\.png: got the grey value 40, .* protocol: \[0, 38, 75\]",
        ),
        ("empty", "infnet", r"no picture in Imgs"),
    ],
)
def test_data_folder_that_does_not_fit_names_the_file(kind: str, recipe: str, told: str, tmp_path: Path) -> None:
    broken(kind, tmp_path / "data")
    with pytest.raises(FormatError, match=told):
        train(recipe, tmp_path / "data", tmp_path / "out", RUNS[recipe])


def test_data_folder_that_is_absent_says_what_stands_there(data: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"no folder Nowhere.*there are"):
        train("infnet", data, tmp_path, {**INFNET, "data.folder": f"{SEMISEG}/LungInfection-Train/Nowhere"})
    with pytest.raises(FormatError, match="data: got 'nothing'"):
        train("infnet", data / "nothing", tmp_path, INFNET)


def test_slices_of_miniseg_infection_are_checked(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no folder covid_semiseg"):
        train("miniseg-infection", tmp_path, tmp_path / "out")
    folder = semiseg_folder(tmp_path, 2) / SEMISEG / "LungInfection-Train" / "Doctor-label"
    assert len(list(doctor_slices(tmp_path))) == 2
    save(np.zeros((9, 8), np.uint8), folder / "GT" / "1.png")
    with pytest.raises(FormatError, match=r"1\.png: got 9x8 pixels"):
        list(doctor_slices(tmp_path))
    for kind in ("Imgs", "GT"):
        save(np.zeros((9, 8), np.uint8), folder / kind / "copy.png")
    with pytest.raises(FormatError, match=r"copy\.png"):
        list(doctor_slices(tmp_path))


def test_scan_without_a_mask_and_label_outside_the_classes_are_named(tmp_path: Path) -> None:
    root = lesion_folders(tmp_path / "data", ("covid",))
    with pytest.raises(ValueRangeError, match=r"covid_"):
        train("unet", root, tmp_path / "a", {**PATCHES, "data.classes": {"0": 0, "2": 1}})
    (root / "covid" / "labels" / "covid_1.nii.gz").unlink()
    with pytest.raises(FormatError, match=r"covid_1_0000\.nii\.gz: got no mask in labels"):
        train("unet", root, tmp_path / "b", PATCHES)


def put_label(path: Path, value: int) -> None:
    """One voxel of this value in a mask."""
    mask = SimpleITK.ReadImage(str(path))
    mask[0, 0, 0] = value
    SimpleITK.WriteImage(mask, str(path))


@pytest.mark.parametrize(
    ("recipe", "folder"), [("unet", "covid"), ("transfer", "covid"), ("transfer", "second"), ("relation", "second")]
)
def test_one_voxel_of_another_label_is_no_class_and_its_file_is_named(recipe: str, folder: str, tmp_path: Path) -> None:
    root = lesion_folders(tmp_path / "data")
    put_label(root / folder / "labels" / f"{folder}_1.nii.gz", 7)
    with pytest.raises(ValueRangeError, match=rf"{folder}_1\.nii\.gz: got the labels \[7\], expected only \[0, 1\]"):
        train(recipe, root, tmp_path / "out", RUNS[recipe])
    assert not (tmp_path / "out" / "pretraining").exists()


def test_labels_of_several_classes_are_declared(tmp_path: Path) -> None:
    root = lesion_folders(tmp_path / "data")
    for folder in ("covid", "second"):
        for path in (root / folder / "labels").iterdir():
            put_label(path, 2)
    changes = {**RUNS["transfer"], "data.names": "{ 1 = 'lesion', 2 = 'nodule' }", "sources.classes": "{ second = 2 }"}
    train("transfer", root, tmp_path / "out", changes)
    stages = json.loads((tmp_path / "out" / "run.json").read_text())["stages"]
    assert [stages["pretraining"]["facts"][name]["classes"] for name in ("first", "second")] == [2, 3]
    assert stages["lesion_representations"]["facts"]["classes"] == 3
    with pytest.raises(ValueRangeError, match=r"sources\.classes: got \['third'\]"):
        train("transfer", root, tmp_path / "other", {**changes, "sources.classes": {"third": 2}})


def test_frozen_encoder_stays_what_pretraining_left(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    state = torch.load(train("transfer", data, out, RUNS["transfer"]), weights_only=True)
    body = torch.load(out / "pretraining" / "checkpoint.pt", weights_only=True)["model"]
    encoder = [key for key in state if key.startswith("encoder.")]
    assert encoder
    assert all(torch.equal(state[key], body[key]) for key in encoder)


@pytest.mark.parametrize("recipe", ["unet", "transfer", "relation"])
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"patch.size": [4, 8, 9]}, r"patch\.size: got .*multiples of \[2, 2, 2\]"),
        ({"patch.size": [8, 8]}, r"patch\.size: got .*one for each axis"),
        ({"data.normalisation_hu": [-1000.0, 100.0, 0.0, 0.0]}, r"normalisation_hu: got .*deviation above 0"),
        ({"run.keep": "best", "split.folds": 1}, r"run\.keep: got best without a validation"),
    ],
)
def test_recipe_of_patches_that_cannot_train_is_refused_at_once(
    recipe: str, changes: dict[str, Any], told: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueRangeError, match=told):
        train(recipe, data, tmp_path, {**RUNS[recipe], **changes})
    assert not (tmp_path / "prepared").exists()


def test_planned_voxel_size_is_that_of_the_volumes(data: Path, tmp_path: Path) -> None:
    changes = {"data.spacing_mm": [], "model.features": [], "model.strides": [], "patch.size": []}
    table = read_recipe("unet", {**PATCHES, **changes, "optimisation.batch": 0})
    # Three cases of 2 x 1 x 1 mm; the median of these is another voxel size than that of the first.
    grids = cases.training_grids({**table, "split": {**table["split"], "folds": 1}}, data)
    assert (grids.spacings_mm, grids.sizes, grids.classes) == ([(2.0, 1.0, 1.0)] * 3, [(8, 20, 24)] * 3, 2)
    mixed = cases.Grids([(5.0, 0.5, 0.5), (2.0, 1.0, 1.0), (2.5, 0.75, 0.75)], [(32, 64, 64)] * 3, 2)
    assert unet.planned(table, mixed)["data"]["spacing_mm"] == [2.5, 0.75, 0.75]
    stated = {**table, "data": {**table["data"], "spacing_mm": [3.0, 1.0, 1.0]}}
    assert unet.planned(stated, mixed)["data"]["spacing_mm"] == [3.0, 1.0, 1.0]
    slices = {**table, "model": {**table["model"], "rank": 2}}
    assert unet.planned(slices, mixed)["data"]["spacing_mm"] == [2.5, 0.75, 0.75]
    with pytest.raises(ValueRangeError, match=r"model\.rank: got planned across axis 2"):
        unet.planned(slices, cases.Grids([(0.6, 0.7, 0.8)] * 3, [(64, 64, 64)] * 3, 2))


def test_unet_is_trained_at_the_planned_voxel_size(tmp_path: Path) -> None:
    root = lesion_folders(tmp_path / "data", ("covid",))
    for kind in ("images", "labels"):
        path = sorted((root / "covid" / kind).iterdir())[0]
        image = SimpleITK.ReadImage(str(path))
        image.SetSpacing((2.0, 2.0, 4.0))
        SimpleITK.WriteImage(image, str(path))
    changes = {"model.features": [], "model.strides": [], "patch.size": [], "split.folds": 1, "run.validate_every": 0}
    changes |= {"optimisation.iterations": 1, "optimisation.batch": 1, "model.budget_gib": 0.5}
    train("unet", root, tmp_path / "out", {**PATCHES, **changes})
    index = json.loads((tmp_path / "out" / "prepared" / "training" / "index.json").read_text())
    assert [case["spacing_mm"] for case in index["cases"].values()] == [[2.0, 1.0, 1.0]] * 3
    stage = json.loads((tmp_path / "out" / "run.json").read_text())["stages"]["unet"]
    assert stage["recipe"]["data"]["spacing_mm"] == [2.0, 1.0, 1.0]


def test_source_may_have_any_name_and_a_batch_is_needed(data: Path, tmp_path: Path) -> None:
    sources = {key: {"training": f"first/{key}"} for key in ("images", "labels")}
    changes = {f"sources.{key}": value for key, value in sources.items()}
    train("transfer", data, tmp_path / "transfer", {**RUNS["transfer"], **changes})
    assert (tmp_path / "transfer" / "prepared" / "sources" / "training" / "index.json").is_file()
    with pytest.raises(ValueRangeError, match=r"optimisation\.batch: got 0"):
        train("unet", data, tmp_path / "unet", {**PATCHES, "optimisation.batch": 0})


def test_source_with_a_published_split_trains_on_its_training_side(data: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(transfer, "volume_folds", lambda name: (Fold(0, ("first_0", "first_2"), ("first_1",)),))
    train("transfer", data, tmp_path, {**RUNS["transfer"], "sources.published": {"first": "msd"}})
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["stages"]["pretraining"]["splits"]["first"] == ["first_0", "first_2"]
    assert not any("first_1" in path for path in record["stages"]["pretraining"]["files"])
    assert len(record["stages"]["pretraining"]["splits"]["second"]) == 3


def test_relations_need_two_samples(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueRangeError, match="single sample has no relations"):
        train("relation", data, tmp_path, {**DUAL, "optimisation.batch": 1})
