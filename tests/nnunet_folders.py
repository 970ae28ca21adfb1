"""Small folders of trained nnU-Nets with random weights, in the layouts of both generations."""

from __future__ import annotations

import json
import pickle
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from covfast.models import PlainUNet, ResidualEncoderUNet

KERNELS = [[1, 3, 3], [3, 3, 3], [3, 3, 3]]
STRIDES = [[1, 1, 1], [1, 2, 2], [2, 2, 2]]
FEATURES = [4, 8, 8]
PATCH = [8, 16, 16]
LABELS: dict[str, Any] = {"background": 0, "lung": 1, "lesion": 2}
CT = {"mean": -300.0, "median": -200.0, "std": 350.0, "min": -1000.0, "max": 900.0}
CT |= {"percentile_00_5": -1000.0, "percentile_99_5": 600.0}


def randomise(module: Any, seed: int) -> Any:
    """All parameters drawn anew, so that no norm and no bias stays at its neutral value."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "norm.weight" in name:
                parameter.uniform_(0.7, 1.3)
            elif parameter.dim() == 1:
                parameter.normal_(0, 0.2)
            elif "seg_layers" in name:  # no class is ahead everywhere
                parameter.normal_()
                parameter.sub_(parameter.mean(1, keepdim=True))
            else:
                torch.nn.init.kaiming_normal_(parameter)
    return module.eval()


def with_second_names(state: Mapping[str, Any]) -> OrderedDict[str, Any]:
    """A state dict with every name that nnU-Net's has: `all_modules`, and the encoder within the decoder."""
    named: OrderedDict[str, Any] = OrderedDict()
    for name, value in state.items():
        named[name] = value
        named[name.replace(".conv.", ".all_modules.0.").replace(".norm.", ".all_modules.1.")] = value
    named.update({f"decoder.{name}": value for name, value in list(named.items()) if name.startswith("encoder.")})
    return named


def configuration(rank: int = 3, kind: str = "PlainConvUNet", **changes: Any) -> dict[str, Any]:
    """One configuration of plans.json."""
    resampling = {"order_z": 0, "force_separate_z": None}
    cut = slice(3 - rank, None)
    counts = "n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage"
    made = {
        "data_identifier": "nnUNetPlans_x",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": PATCH[cut],
        "median_image_size_in_voxels": PATCH[cut],
        "spacing": [2.5, 1.25, 1.25][cut],
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, **resampling},
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, **resampling},
        "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, **resampling},
        "batch_dice": False,
        "architecture": {
            "network_class_name": f"dynamic_network_architectures.architectures.unet.{kind}",
            "arch_kwargs": {
                "n_stages": 3,
                "features_per_stage": FEATURES,
                "conv_op": f"torch.nn.modules.conv.Conv{rank}d",
                "kernel_sizes": [kernel[cut] for kernel in KERNELS],
                "strides": [stride[cut] for stride in STRIDES],
                counts: [2, 2, 2],
                "n_conv_per_stage_decoder": [2, 2],
                "conv_bias": True,
                "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{rank}d",
                "norm_op_kwargs": {"eps": 1e-5, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }
    return {**made, **changes}


def old_configuration() -> dict[str, Any]:
    """The same 3-D network as nnU-Net wrote it before its plans had an 'architecture'."""
    made = configuration()
    del made["architecture"]
    old = {"UNet_class_name": "PlainConvUNet", "UNet_base_num_features": 4, "unet_max_num_features": 8}
    counts = {"n_conv_per_stage_encoder": [2, 2, 2], "n_conv_per_stage_decoder": [2, 2], "num_pool_per_axis": [1, 2, 2]}
    return {**made, **old, **counts, "pool_op_kernel_sizes": STRIDES, "conv_kernel_sizes": KERNELS}


def plans(configurations: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """plans.json."""
    made = {
        "dataset_name": "Dataset900_Small",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": dict(configurations),
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": CT, "1": CT},
    }
    return {**made, **changes}


def dataset(labels: Mapping[str, Any] = LABELS, **changes: Any) -> dict[str, Any]:
    """dataset.json."""
    made = {"channel_names": {"0": "CT"}, "labels": dict(labels), "numTraining": 1, "file_ending": ".nii.gz"}
    return {**made, **changes}


def network(given: Mapping[str, Any], inputs: int, outputs: int, seed: int) -> Any:
    """The network of a configuration, from our own classes."""
    kwargs = given["architecture"]["arch_kwargs"]
    arguments = (inputs, outputs, kwargs["features_per_stage"], kwargs["kernel_sizes"], kwargs["strides"])
    above = kwargs["n_conv_per_stage_decoder"]
    if "n_blocks_per_stage" in kwargs:
        return randomise(ResidualEncoderUNet(*arguments, kwargs["n_blocks_per_stage"], above), seed)
    return randomise(PlainUNet(*arguments, kwargs["n_conv_per_stage"], above), seed)


def checkpoint(module: Any, name: str, mirroring: Sequence[int] | None, **changes: Any) -> dict[str, Any]:
    """What nnU-Net saves for a fold: the weights among much else."""
    weights = with_second_names(module.state_dict())
    logging = {"mean_fg_dice": [np.float64(0.5)], "epoch_start_timestamps": [1.5], "lrs": np.arange(3.0)}
    made = {
        "network_weights": weights,
        "optimizer_state": {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.01}]},
        "grad_scaler_state": None,
        "logging": logging,
        "_best_ema": np.float32(0.5),
        "current_epoch": 1000,
        "init_args": {"configuration": name, "fold": 0, "plans": {}, "device": torch.device("cpu")},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": None if mirroring is None else tuple(mirroring),
    }
    return {**made, **changes}


def write_v2(
    root: Path,
    name: str = "3d_fullres",
    folds: Sequence[int | str] = (0,),
    held: Mapping[str, Any] | None = None,
    about: Mapping[str, Any] | None = None,
    inputs: int = 1,
    outputs: int = 3,
    mirroring: Sequence[int] | None = (0, 1, 2),
    file: str = "checkpoint_final.pth",
    built: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """A model's folder of the second generation.

    Args:
        root: folder of the data set.
        name: of the configuration.
        held, about: plans.json and dataset.json.
        inputs, outputs: channels of the networks.
        mirroring, file: of the checkpoints.
        built: the configuration that the networks are built from, where it is not that of the plans.
        changes: of the checkpoints.
    """
    held = plans({name: configuration()}) if held is None else held
    folder = root / f"nnUNetTrainer__nnUNetPlans__{name}"
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(held))
    (folder / "dataset.json").write_text(json.dumps(dataset() if about is None else about))
    given = held["configurations"][name] if built is None else built
    for index, fold in enumerate(folds):
        (folder / f"fold_{fold}").mkdir()
        module = network(given, inputs, outputs, seed=index + 1)
        torch.save(checkpoint(module, name, mirroring, **changes), folder / f"fold_{fold}" / file)
    return folder


def write_cascade(root: Path) -> Path:
    """Both models of a cascade; the folder of the second."""
    low = configuration(spacing=[5.0, 2.5, 2.5])
    high = configuration(previous_stage="3d_lowres")
    held = plans({"3d_lowres": low, "3d_cascade_fullres": high})
    write_v2(root, "3d_lowres", held=held, folds=(0, 1))
    return write_v2(root, "3d_cascade_fullres", held=held, folds=(0, 1), inputs=3)


def generic_unet(state: Mapping[str, Any], stages: int = 3) -> OrderedDict[str, Any]:
    """A PlainUNet's weights under the names of nnU-Net's first generation, whose up-sampling and heads have no bias."""
    made: OrderedDict[str, Any] = OrderedDict()
    for name, value in state.items():
        part, kind, at, *rest = name.split(".")
        if kind in ("transpconvs", "seg_layers"):
            if rest == ["weight"]:
                made[f"{'tu' if kind == 'transpconvs' else 'seg_outputs'}.{at}.weight"] = value
            continue
        index, op, what = rest[-3:]
        op = "conv" if op == "conv" else "instnorm"
        if part == "encoder" and int(at) < stages - 1:
            made[f"conv_blocks_context.{at}.blocks.{index}.{op}.{what}"] = value
        else:  # two parts: all convolutions but the last, and the last
            home = "context" if part == "encoder" else "localization"
            half, place = (1, 0) if int(index) == 1 else (0, int(index))
            made[f"conv_blocks_{home}.{at}.{half}.blocks.{place}.{op}.{what}"] = value
    return made


def plans_v1(rank: int = 3, **changes: Any) -> dict[str, Any]:
    """plans.pkl of the first generation."""
    cut = slice(3 - rank, None)
    stage = {
        "batch_size": 2,
        "num_pool_per_axis": [1, 2, 2][cut],
        "patch_size": np.array(PATCH[cut]),
        "current_spacing": np.array([2.5, 1.25, 1.25]),
        "original_spacing": np.array([2.5, 0.8, 0.8]),
        "do_dummy_2D_data_aug": False,
        "pool_op_kernel_sizes": [stride[cut] for stride in STRIDES[1:]],
        "conv_kernel_sizes": [kernel[cut] for kernel in KERNELS],
    }
    intensity = {"mean": np.float32(-300), "sd": np.float64(350), "median": -200.0, "mn": -1000, "mx": 900}
    intensity |= {"percentile_00_5": -1000.0, "percentile_99_5": np.float32(600)}
    made: dict[str, Any] = {
        "plans_per_stage": {0: stage},
        "dataset_properties": {"intensityproperties": OrderedDict({0: intensity}), "all_sizes": [(8, 16, 16)]},
        "normalization_schemes": OrderedDict({0: "CT"}),
        "use_mask_for_norm": OrderedDict({0: False}),
        "base_num_features": 4,
        "num_modalities": 1,
        "num_classes": 2,
        "all_classes": [1, 2],
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "conv_per_stage": 2,
        "keep_only_largest_region": None,
    }
    return {**made, **changes}


def write_v1(
    root: Path, held: Mapping[str, Any] | None = None, rank: int = 3, old_torch: bool = False
) -> tuple[Path, Any]:
    """A model's folder of the first generation, and its network as ours."""
    held = plans_v1(rank) if held is None else held
    folder = root / "nnUNet" / f"{rank}d" / "Task900_Small" / "nnUNetTrainerV2__nnUNetPlansv2.1"
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.pkl").write_bytes(pickle.dumps(held))
    cut = slice(3 - rank, None)
    kernels = [kernel[cut] for kernel in KERNELS]
    strides = [stride[cut] for stride in STRIDES]
    module = randomise(PlainUNet(1, 3, FEATURES, kernels, strides, decoder_kernels=kernels[:0:-1]), 1)
    with torch.no_grad():
        for layer in (*module.decoder.transpconvs, *module.decoder.seg_layers):
            layer.bias.zero_()
    state = {"epoch": 1000, "state_dict": generic_unet(module.state_dict()), "plot_stuff": ([np.float32(1)], [0.5])}
    path = folder / "fold_0" / "model_final_checkpoint.model"
    torch.save(state, path, _use_new_zipfile_serialization=not old_torch)
    info = {"init": ("plans.pkl", 0, "out", "data", True, 0, True, False, True), "name": "nnUNetTrainerV2"}
    path.with_name(path.name + ".pkl").write_bytes(pickle.dumps({**info, "class": "<class>", "plans": held}))
    return folder, module
