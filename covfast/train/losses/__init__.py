"""Losses as pure functions on tensors: one file for each family, formula and source in every docstring."""

from __future__ import annotations

from covfast.train.losses.lesion_types import any_lesion, lesion_type_loss
from covfast.train.losses.miniseg import class_weights, miniseg_loss, weighted_cross_entropy
from covfast.train.losses.multiclass import multiclass_bce, one_hot_channels
from covfast.train.losses.overlap import (
    deep_supervision,
    dice_cross_entropy,
    foreground_dice,
    labels_at,
    level_weights,
    soft_cross_entropy,
    soft_dice,
    supervised,
)
from covfast.train.losses.relation import ramp_up, relation_loss, relation_matrix
from covfast.train.losses.structure import (
    border_weight,
    edge_loss,
    infnet_loss,
    structure_loss,
    weighted_bce,
    weighted_iou,
)

__all__ = [
    "any_lesion",
    "border_weight",
    "class_weights",
    "deep_supervision",
    "dice_cross_entropy",
    "edge_loss",
    "foreground_dice",
    "infnet_loss",
    "labels_at",
    "lesion_type_loss",
    "level_weights",
    "miniseg_loss",
    "multiclass_bce",
    "one_hot_channels",
    "ramp_up",
    "relation_loss",
    "relation_matrix",
    "soft_cross_entropy",
    "soft_dice",
    "structure_loss",
    "supervised",
    "weighted_bce",
    "weighted_cross_entropy",
    "weighted_iou",
]
