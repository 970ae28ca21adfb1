"""nnU-Net's folders and zip files become networks and a recipe; what contradicts itself or is hostile ends named."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from nnunet_folders import (  # noqa: E402
    LABELS,
    configuration,
    dataset,
    network,
    old_configuration,
    plans,
    write_cascade,
    write_v1,
    write_v2,
)

from covfast.errors import ValueRangeError  # noqa: E402
from covfast.models import import_checkpoint  # noqa: E402


def stages(recipe: Any) -> dict[str, dict[str, Any]]:
    """The stages of a recipe by name."""
    return {stage["stage"]: stage for stage in recipe["stages"]}


def image(*shape: int) -> Any:
    torch.manual_seed(0)
    return torch.randn(1, *shape)


def same(ours: Any, given: Any, x: Any) -> bool:
    with torch.no_grad():
        return torch.equal(ours(x), given(x))


# What comes in.


def test_v2_folder_gives_the_networks_and_the_recipe_in_nnunets_order(tmp_path: Path) -> None:
    checkpoint = import_checkpoint(write_v2(tmp_path, folds=(0, 1)))
    assert checkpoint.format == "nnunet-v2"
    assert checkpoint.member == "fold_0"
    assert list(checkpoint.members) == ["fold_1"]
    assert checkpoint.labels == {1: "lung", 2: "lesion"}
    assert not checkpoint.module.training
    x = image(1, 8, 16, 16)
    assert same(checkpoint.module, network(configuration(), 1, 3, seed=1), x)
    assert same(checkpoint.members["fold_1"], network(configuration(), 1, 3, seed=2), x)
    assert checkpoint.recipe == {
        "version": 1,
        "stages": [
            {"stage": "orient", "to": "file"},
            {"stage": "transpose", "axes": [0, 1, 2]},
            {"stage": "crop", "to": "nonzero"},
            {
                "stage": "normalise_channels",
                "channels": [{"scheme": "ct", "low": -1000.0, "high": 600.0, "mean": -300.0, "std": 350.0}],
            },
            {
                "stage": "resample_volume",
                "spacing_mm": [2.5, 1.25, 1.25],
                "order": 3,
                "order_z": 0,
                "separate_z": "auto",
                "anisotropy": 3.0,
            },
            {
                "stage": "windows",
                "size": [8, 16, 16],
                "step": 0.5,
                "importance": "gaussian",
                "single": "weighted",
                "mirror_axes": [0, 1, 2],
            },
            {"stage": "network", "members": ["fold_0", "fold_1"]},
            {"stage": "stitch"},
            {"stage": "resample_logits", "order": 1, "order_z": 0, "separate_z": "auto", "anisotropy": 3.0},
            {"stage": "argmax", "values": [0, 1, 2]},
        ],
    }


def test_v2_2d_folder_keeps_the_spacing_between_slices(tmp_path: Path) -> None:
    folder = write_v2(tmp_path, "2d", held=plans({"2d": configuration(2)}), mirroring=(0, 1))
    checkpoint = import_checkpoint(folder)
    found = stages(checkpoint.recipe)
    assert found["resample_volume"]["spacing_mm"] == [0.0, 1.25, 1.25]
    assert (found["windows"]["size"], found["windows"]["mirror_axes"]) == ([1, 16, 16], [1, 2])
    assert checkpoint.input_shape == (1, 1, 8, 8)
    assert same(checkpoint.module, network(configuration(2), 1, 3, seed=1), image(1, 16, 16))


@pytest.mark.parametrize("mirroring", [None, ()])
def test_v2_folder_without_mirroring(tmp_path: Path, mirroring: Any) -> None:
    checkpoint = import_checkpoint(write_v2(tmp_path, mirroring=mirroring))
    assert stages(checkpoint.recipe)["windows"]["mirror_axes"] == []


def test_v2_residual_encoder(tmp_path: Path) -> None:
    given = configuration(kind="ResidualEncoderUNet")
    checkpoint = import_checkpoint(write_v2(tmp_path, held=plans({"3d_fullres": given})))
    assert same(checkpoint.module, network(given, 1, 3, seed=1), image(1, 8, 16, 16))


def test_v2_regions_become_values_in_their_order(tmp_path: Path) -> None:
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": [3], "ignore": 4}
    about = dataset(labels, regions_class_order=[1, 2, 3])
    checkpoint = import_checkpoint(write_v2(tmp_path, about=about, outputs=3))
    assert checkpoint.recipe["stages"][-1] == {"stage": "regions", "values": [1, 2, 3]}
    assert checkpoint.labels == {1: "whole", 2: "core", 3: "enhancing"}


def test_v2_ignore_label_has_no_channel(tmp_path: Path) -> None:
    checkpoint = import_checkpoint(write_v2(tmp_path, about=dataset({**LABELS, "ignore": 3})))
    assert checkpoint.recipe["stages"][-1]["values"] == [0, 1, 2]


def test_v2_channels_reader_and_transpose(tmp_path: Path) -> None:
    given = configuration(
        normalization_schemes=[
            "ZScoreNormalization",
            "RescaleTo01Normalization",
            "RGBTo01Normalization",
            "NoNormalization",
        ],
        use_mask_for_norm=[True, False, False, False],
    )
    changes = {"image_reader_writer": "NibabelIOWithReorient"}
    held = plans({"3d_fullres": given}, transpose_forward=[2, 0, 1], transpose_backward=[1, 2, 0], **changes)
    about = dataset(channel_names={"0": "T1", "1": "a", "2": "b", "3": "c"})
    found = stages(import_checkpoint(write_v2(tmp_path, held=held, about=about, inputs=4)).recipe)
    assert found["orient"]["to"] == "SAR"
    assert found["transpose"]["axes"] == [2, 0, 1]
    schemes = [{"scheme": "zscore", "masked": True}, {"scheme": "rescale01"}, {"scheme": "rgb01"}, {"scheme": "none"}]
    assert found["normalise_channels"]["channels"] == schemes


def test_v2_plans_without_an_architecture(tmp_path: Path) -> None:
    folder = write_v2(tmp_path, held=plans({"3d_fullres": old_configuration()}), built=configuration())
    assert same(import_checkpoint(folder).module, network(configuration(), 1, 3, seed=1), image(1, 8, 16, 16))


def test_v2_configuration_inherits(tmp_path: Path) -> None:
    configurations = {"3d_fullres": configuration(), "big": {"patch_size": [16, 32, 32], "inherits_from": "3d_fullres"}}
    folder = write_v2(tmp_path, "big", held=plans(configurations), built=configuration())
    assert stages(import_checkpoint(folder).recipe)["windows"]["size"] == [16, 32, 32]


def test_v2_weights_of_data_parallel_and_compiled_modules(tmp_path: Path) -> None:
    state = {f"module._orig_mod.{k}": v for k, v in network(configuration(), 1, 3, seed=1).state_dict().items()}
    folder = write_v2(tmp_path, network_weights=state)
    assert same(import_checkpoint(folder).module, network(configuration(), 1, 3, seed=1), image(1, 8, 16, 16))


def test_v2_cascade_brings_the_stage_before_along(tmp_path: Path) -> None:
    checkpoint = import_checkpoint(write_cascade(tmp_path))
    assert list(checkpoint.members) == ["fold_1", "3d_lowres_fold_0", "3d_lowres_fold_1"]
    previous = stages(checkpoint.recipe)["previous"]
    assert (previous["member"], previous["labels"]) == ("3d_lowres_fold_0", [1, 2])
    inner = stages(previous)
    assert inner["network"]["members"] == ["3d_lowres_fold_0", "3d_lowres_fold_1"]
    assert inner["resample_volume"]["spacing_mm"] == [5.0, 2.5, 2.5]
    names = [stage["stage"] for stage in checkpoint.recipe["stages"]]
    assert names.index("resample_volume") < names.index("previous") < names.index("windows")


def test_v2_folds_and_checkpoint_are_chosen(tmp_path: Path) -> None:
    folder = write_v2(tmp_path, folds=(0, 1, "all"))
    x = image(1, 8, 16, 16)
    assert list(import_checkpoint(folder).members) == ["fold_1"]
    assert same(import_checkpoint(folder, folds=["all"]).module, network(configuration(), 1, 3, seed=3), x)
    assert import_checkpoint(folder, folds=[1]).member == "fold_1"
    (folder / "fold_1" / "checkpoint_final.pth").rename(folder / "fold_1" / "checkpoint_best.pth")
    assert import_checkpoint(folder, checkpoint="checkpoint_best").member == "fold_1"
    (folder / "fold_0" / "checkpoint_final.pth").unlink()
    (folder / "fold_all" / "checkpoint_final.pth").unlink()
    checkpoint = import_checkpoint(folder)
    assert (checkpoint.member, checkpoint.members) == ("fold_1", {})
    assert any("checkpoint_best.pth is taken" in note for note in checkpoint.notes)


def test_v2_zip_file_of_several_models(tmp_path: Path) -> None:
    write_cascade(tmp_path / "Dataset900_Small")
    packed = tmp_path / "model.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted((tmp_path / "Dataset900_Small").rglob("*.*")):
            file.write(path, path.relative_to(tmp_path))
    with pytest.raises(ValueRangeError, match=r"2 models \(3d_cascade_fullres, 3d_lowres\)"):
        import_checkpoint(packed)
    assert len(import_checkpoint(packed, configuration="3d_cascade_fullres").members) == 3
    assert import_checkpoint(packed, configuration="3d_lowres", folds=[1]).member == "fold_1"


def test_v2_postprocessing_is_a_note_or_a_stage(tmp_path: Path) -> None:
    folder = write_v2(tmp_path)
    (folder / "crossval_results_folds_0").mkdir()
    held = {
        "postprocessing_fns": ["remove_all_but_largest_component_from_segmentation"] * 2,
        "postprocessing_kwargs": [{"labels_or_regions": [1, 2]}, {"labels_or_regions": 1}],
    }
    (folder / "crossval_results_folds_0" / "postprocessing.json").write_text(json.dumps(held))
    checkpoint = import_checkpoint(folder)
    assert any("postprocessing" in note for note in checkpoint.notes)
    assert "components" not in stages(checkpoint.recipe)
    stage = import_checkpoint(folder, postprocessing=True).recipe["stages"][-1]
    kept = {"keep": "largest", "connectivity": 26, "min_voxels": 0}
    assert stage == {"stage": "components", "labels": [[1, 2], [1]], **kept}


@pytest.mark.parametrize("old_torch", [False, True])
@pytest.mark.parametrize("rank", [2, 3])
def test_v1_folder_gives_the_network_and_its_own_order_of_stages(tmp_path: Path, rank: int, old_torch: bool) -> None:
    folder, module = write_v1(tmp_path, rank=rank, old_torch=old_torch)
    checkpoint = import_checkpoint(folder)
    assert checkpoint.format == "nnunet-v1"
    assert same(checkpoint.module, module, image(1, 8, 16, 16)[(slice(None), slice(None), *[0] * (3 - rank))])
    names = [stage["stage"] for stage in checkpoint.recipe["stages"]]
    assert names.index("resample_volume") < names.index("normalise_channels")
    assert names.index("network") < names.index("softmax") < names.index("stitch")
    found = stages(checkpoint.recipe)
    assert found["windows"]["single"] == "plain"
    assert found["normalise_channels"]["channels"][0] == {
        "scheme": "ct", "low": -1000.0, "high": 600.0, "mean": -300.0, "std": 350.0
    }  # fmt: skip
    assert found["resample_volume"]["spacing_mm"] == ([2.5, 1.25, 1.25] if rank == 3 else [0.0, 1.25, 1.25])
    assert checkpoint.labels == {1: "label 1", 2: "label 2"}


def test_v1_postprocessing_is_a_stage_as_in_its_own_prediction(tmp_path: Path) -> None:
    folder, _ = write_v1(tmp_path)
    (folder / "postprocessing.json").write_text(json.dumps({"for_which_classes": [[1, 2], 1]}))
    stage = import_checkpoint(tmp_path).recipe["stages"][-1]
    assert (stage["labels"], stage["connectivity"]) == ([[1, 2], [1]], 6)
    assert import_checkpoint(folder, postprocessing=False).recipe["stages"][-1]["stage"] == "argmax"


# The real classes, where they are installed.


def test_v2_folder_as_nnunetv2_itself_writes_it(tmp_path: Path) -> None:
    """Network, state dict and logger are nnU-Net's own; the outputs are equal."""
    handler = pytest.importorskip("nnunetv2.utilities.plans_handling.plans_handler", reason="not installed: nnunetv2")
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    for kind in ("PlainConvUNet", "ResidualEncoderUNet"):
        held = plans({"3d_fullres": configuration(kind=kind)})
        manager = handler.PlansManager(json.loads(json.dumps(held))).get_configuration("3d_fullres")
        real = get_network_from_plans(
            manager.network_arch_class_name,
            manager.network_arch_init_kwargs,
            manager.network_arch_init_kwargs_req_import,
            1,
            3,
            deep_supervision=False,
        ).eval()
        folder = write_v2(tmp_path / kind, held=held, network_weights=real.state_dict())
        ours = import_checkpoint(folder).module
        x = image(1, 8, 16, 16)
        with torch.no_grad():
            assert torch.allclose(ours(x), real(x), atol=1e-6)
