"""nnU-Net folders that contradict themselves, or ask for what cannot be carried over, end in a named error."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from nnunet_folders import (  # noqa: E402
    KERNELS,
    LABELS,
    configuration,
    dataset,
    network,
    plans,
    plans_v1,
    write_cascade,
    write_v1,
    write_v2,
)

from covfast.errors import FormatError, ValueRangeError, WeightsError  # noqa: E402
from covfast.models import import_checkpoint  # noqa: E402


def changed(**changes: Any) -> dict[str, Any]:
    return plans({"3d_fullres": configuration(**changes)})


def architecture(**changes: Any) -> dict[str, Any]:
    held = changed()
    held["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"] |= changes
    return held


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("resampling_fn_data: got resample_torch_fornnunet", changed(resampling_fn_data="resample_torch_fornnunet")),
    ("order 2", changed(resampling_fn_data_kwargs={"is_seg": False, "order": 2})),
    ("order 3", changed(resampling_fn_probabilities_kwargs={"is_seg": False, "order": 3})),
    ("force_separate_z", changed(resampling_fn_data_kwargs={"force_separate_z": "yes"})),
    ("the parameter 'mode'", changed(resampling_fn_data_kwargs={"mode": "x"})),
    ("preprocessor_name", changed(preprocessor_name="MyPreprocessor")),
    ("normalization_schemes", changed(normalization_schemes=["MyNormalization"])),
    ("one of each for 1 channels", changed(normalization_schemes=["CTNormalization"] * 2)),
    ("patch_size", changed(patch_size=[9, 16, 16])),
    ("2-D|3-D network", changed(patch_size=[16, 16])),
    ("numbers above 0", changed(spacing=[0.0, 1.0, 1.0])),
    ("configurations", {**plans({}), "configurations": []}),
    ("one of 2d", plans({"2d": configuration(2)})),
    ("a circle", changed(inherits_from="3d_fullres")),
    ("image_reader_writer", plans({"3d_fullres": configuration()}, image_reader_writer="MyReader")),
    ("label_manager", plans({"3d_fullres": configuration()}, label_manager="MyLabels")),
    ("transpose_forward", plans({"3d_fullres": configuration()}, transpose_backward=[1, 2, 0])),
    ("percentile_00_5", plans({"3d_fullres": configuration()}, foreground_intensity_properties_per_channel={"0": {}})),
    ("norm_op", architecture(norm_op="torch.nn.modules.batchnorm.BatchNorm3d")),
    ("nonlin", architecture(nonlin="torch.nn.ReLU")),
    ("the parameter 'block'", architecture(block="BottleneckD")),
    ("n_stages", architecture(n_stages=10**9)),
    ("strides: got 3 entries", architecture(n_stages=4, features_per_stage=[4, 8, 8, 8], kernel_sizes=[[3] * 3] * 4)),
    ("conv_op", architecture(conv_op="os.system")),
]


@pytest.mark.parametrize(("reason", "held"), REFUSED, ids=[reason for reason, _ in REFUSED])
def test_v2_plans_that_we_cannot_carry_over_raise(tmp_path: Path, reason: str, held: dict[str, Any]) -> None:
    folder = write_v2(tmp_path, held=held, built=configuration())
    with pytest.raises((FormatError, ValueRangeError), match=reason):
        import_checkpoint(folder)


def test_v2_network_class_of_another_package_raises(tmp_path: Path) -> None:
    held = changed()
    held["configurations"]["3d_fullres"]["architecture"]["network_class_name"] = "evil.PlainConvUNet"
    with pytest.raises(FormatError, match="network_class_name: got evil"):
        import_checkpoint(write_v2(tmp_path, held=held))


CONTRADICTIONS: list[tuple[str, dict[str, Any]]] = [
    ("seg_layers.*got \\(3, .*expected shape \\(4, ", {"about": dataset({**LABELS, "vessel": 3})}),
    ("no tensor 'decoder.seg_layers.2", {"held": architecture(
        n_stages=4, features_per_stage=[4, 8, 8, 8], kernel_sizes=[*KERNELS, KERNELS[2]],
        strides=[[1] * 3, [1, 2, 2], [1, 2, 2], [1, 2, 2]], n_conv_per_stage=2, n_conv_per_stage_decoder=2)}),
    ("an unknown tensor", {"held": architecture(
        n_stages=2, features_per_stage=[4, 8], kernel_sizes=KERNELS[:2], strides=[[1] * 3, [1, 2, 2]],
        n_conv_per_stage=2, n_conv_per_stage_decoder=2)}),
    ("expected shape \\(5, ", {"held": architecture(features_per_stage=[5, 8, 8])}),
    ("expected shape \\(4, 2, ", {"held": changed(normalization_schemes=["NoNormalization"] * 2,
        use_mask_for_norm=[False] * 2), "about": dataset(channel_names={"0": "CT", "1": "PET"})}),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "given"), CONTRADICTIONS, ids=["heads", "fewer", "more", "features", "channels"])
def test_v2_plans_that_contradict_the_weights_raise(tmp_path: Path, reason: str, given: dict[str, Any]) -> None:
    with pytest.raises(WeightsError, match=f"{reason}.*contradict"):
        import_checkpoint(write_v2(tmp_path, built=configuration(), **given))


BAD_LABELS: list[tuple[str, dict[str, Any]]] = [
    ("background", {"labels": {"lung": 1}}),
    ("without a gap", {"labels": {"background": 0, "lung": 2}}),
    ("ignore", {"labels": {"background": 0, "lung": 1, "ignore": 5}}),
    ("regions_class_order", {"labels": {"background": 0, "a": [1, 2], "b": 2}}),
    ("0 entries for 2 regions", {"labels": {"background": 0, "a": [1, 2], "b": 2}, "regions_class_order": []}),
    ("labels: lung", {"labels": {"background": 0, "lung": "one"}}),
    ("channel_names", {"labels": LABELS, "channel_names": {}}),
]


@pytest.mark.parametrize(("reason", "about"), BAD_LABELS, ids=[reason for reason, _ in BAD_LABELS])
def test_v2_labels_that_do_not_fit_raise(tmp_path: Path, reason: str, about: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match=reason):
        import_checkpoint(write_v2(tmp_path, about={**dataset(), **about}))


def test_folds_and_files_that_are_missing_raise(tmp_path: Path) -> None:
    folder = write_v2(tmp_path, folds=(0, 1))
    with pytest.raises(ValueRangeError, match=r"folds: got fold_3 .*fold_0, fold_1"):
        import_checkpoint(folder, folds=[0, 3])
    with pytest.raises(WeightsError, match=r"no fold with checkpoint_latest\.pth"):
        import_checkpoint(folder, checkpoint="checkpoint_latest")
    with pytest.raises(FormatError, match="give the folder that holds the plans"):
        import_checkpoint(folder / "fold_0")
    with pytest.raises(FormatError, match="give the model's folder"):
        import_checkpoint(folder / "fold_0" / "checkpoint_final.pth")
    (folder / "dataset.json").unlink()
    with pytest.raises(FormatError, match=r"dataset\.json: got no such file"):
        import_checkpoint(folder)
    (folder / "plans.json").write_text("{")
    with pytest.raises(FormatError, match="no JSON"):
        import_checkpoint(folder)


def test_cascade_without_the_stage_before_raises(tmp_path: Path) -> None:
    folder = write_cascade(tmp_path)
    (tmp_path / "nnUNetTrainer__nnUNetPlans__3d_lowres").rename(tmp_path / "elsewhere")
    with pytest.raises(FormatError, match="3d_lowres beside it"):
        import_checkpoint(folder)


def test_folders_of_other_things_raise(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"plans\.json or plans\.pkl"):
        import_checkpoint(tmp_path)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("readme.txt", "")
    with pytest.raises(FormatError, match=r"a\.zip: got 1 files, expected some with plans\.json"):
        import_checkpoint(tmp_path / "a.zip")
    (tmp_path / "cut.zip").write_bytes((tmp_path / "a.zip").read_bytes()[:50])
    with pytest.raises(FormatError, match="damaged zip file"):
        import_checkpoint(tmp_path / "cut.zip")
    with pytest.raises(FormatError, match="nowhere: got no such file or folder"):
        import_checkpoint(tmp_path / "nowhere")
    with pytest.raises(ValueRangeError, match="folds"):
        import_checkpoint(tmp_path / "a.zip", folds=[0])


def test_weights_that_are_not_finite_raise(tmp_path: Path) -> None:
    state = dict(network(configuration(), 1, 3, seed=1).state_dict())
    state["decoder.seg_layers.0.bias"] = torch.full((3,), float("nan"))
    with pytest.raises(WeightsError, match="finite"):
        import_checkpoint(write_v2(tmp_path, network_weights=state))


V1_REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("contradict", {"base_num_features": 8}),
    ("contradict", {"num_classes": 3, "all_classes": [1, 2, 3]}),
    ("all_classes", {"all_classes": [1, 5]}),
    ("CT2", {"normalization_schemes": {0: "CT2"}}),
    ("one scheme and one mask", {"use_mask_for_norm": {}}),
    ("preprocessor_name", {"preprocessor_name": "Preprocessor3DDifferentResampling"}),
    ("order 3", {"segmentation_export_params": {"interpolation_order": 3}}),
    ("stage", {"plans_per_stage": {}}),
    ("intensityproperties", {"dataset_properties": {}}),
]


@pytest.mark.parametrize(("reason", "changes"), V1_REFUSED, ids=[str(list(changes)) for _, changes in V1_REFUSED])
def test_v1_plans_that_we_cannot_carry_over_raise(tmp_path: Path, reason: str, changes: dict[str, Any]) -> None:
    write_v1(tmp_path, plans_v1(**changes))
    with pytest.raises((FormatError, WeightsError), match=reason):
        import_checkpoint(tmp_path)


def test_zip_with_a_damaged_entry_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("plans.json", json.dumps({"plans": list(range(999))}))
        file.writestr("dataset.json", "{}")
    data = bytearray(path.read_bytes())
    data[60:90] = b"\xff" * 30  # within the packed plans: zlib finds it before the checksum does
    path.write_bytes(bytes(data))
    with pytest.raises(FormatError, match=r"plans\.json: got error"):
        import_checkpoint(path)
