"""A result folder of nnU-Net v2 with random weights, as nnunetv2 writes and reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FEATURES, SMALL_FEATURES = (32, 64, 128, 256, 320, 320), (8, 16, 16)
STRIDES = ((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2))
PATCH, SMALL_PATCH = (56, 192, 160), (16, 48, 48)
CLASSES = 4
SPACING_MM = (1.25, 0.8, 0.8)


def architecture(features: tuple[int, ...]) -> dict[str, Any]:
    """The keyword arguments of a PlainConvUNet, in the words of plans.json."""
    stages = len(features)
    return {
        "n_stages": stages,
        "features_per_stage": list(features),
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * stages,
        "strides": [list(stride) for stride in STRIDES[:stages]],
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }


def plans(is_small: bool) -> dict[str, Any]:
    """What plans.json holds of one configuration, 3d_fullres."""
    resampling = {"order_z": 0, "force_separate_z": None}
    name = "resample_data_or_seg_to_shape"
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(SMALL_PATCH if is_small else PATCH),
        "median_image_size_in_voxels": [240.0, 448.0, 448.0],
        "spacing": list(SPACING_MM),
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": name,
        "resampling_fn_seg": name,
        "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, **resampling},
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, **resampling},
        "resampling_fn_probabilities": name,
        "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, **resampling},
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": architecture(SMALL_FEATURES if is_small else FEATURES),
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "batch_dice": False,
    }
    intensities = {"mean": -350.0, "median": -500.0, "std": 420.0, "min": -1024.0, "max": 3000.0}
    return {
        "dataset_name": "Dataset999_Phantom",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(SPACING_MM),
        "original_median_shape_after_transp": [240, 448, 448],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            "0": {**intensities, "percentile_00_5": -1000.0, "percentile_99_5": 400.0}
        },
    }


def write(folder: Path, is_small: bool) -> Path:
    """Writes the folder; one that is there is kept."""
    if (folder / "fold_0" / "checkpoint_final.pth").exists():
        return folder
    import torch
    from dynamic_network_architectures.architectures.unet import PlainConvUNet
    from torch import nn

    kwargs = architecture(SMALL_FEATURES if is_small else FEATURES)
    kwargs |= {"conv_op": nn.Conv3d, "norm_op": nn.InstanceNorm3d, "nonlin": nn.LeakyReLU}
    torch.manual_seed(0)
    network = PlainConvUNet(input_channels=1, num_classes=CLASSES, deep_supervision=True, **kwargs)
    labels = {"background": 0, "left lung": 1, "right lung": 2, "infection": 3}
    dataset = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"}
    plan = plans(is_small)
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plan, indent=2), encoding="utf-8")
    (folder / "dataset.json").write_text(json.dumps(dataset, indent=2), encoding="utf-8")
    checkpoint = {
        "network_weights": network.state_dict(),
        "optimizer_state": None,
        "grad_scaler_state": None,
        "logging": {},
        "_best_ema": None,
        "current_epoch": 1,
        "init_args": {"configuration": "3d_fullres", "fold": 0, "plans": plan, "dataset_json": dataset},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": [0, 1, 2],
    }
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")
    return folder
