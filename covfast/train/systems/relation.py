"""Relation-driven collaboration of two encoders (Zhang et al., IEEE JBHI 2021, doi 10.1109/jbhi.2021.3106341).

The paper's text was not at hand: loss, ramp and order of training are our reading (docs/relation.md).
"""

# torch is not followed by the type checker: its classes and functions are Any.

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor, nn

from covfast.errors import ValueRangeError, describe
from covfast.models.relation import RelationUNet
from covfast.train.distributed import Share
from covfast.train.feeder import Batch
from covfast.train.losses import ramp_up, relation_loss
from covfast.train.recipe import Recipe
from covfast.train.systems.cases import target_volumes
from covfast.train.systems.stage import Context, run_stage
from covfast.train.systems.transfer import pretrain
from covfast.train.systems.unet import PatchSystem, check_patch, topology


class RelationSystem(PatchSystem):
    """General and target encoder trained together: segmentation loss + lambda(epoch) * relation loss.

    Args:
        table, train, held, read: As of `PatchSystem`.
        pretrained: State dict of a U-Net of other lesions, whose encoder the general one begins as.
    """

    def __init__(self, *arguments: Any, pretrained: Mapping[str, Tensor]) -> None:
        super().__init__(*arguments)
        self.pretrained = pretrained

    def build(self) -> nn.Module:
        """Both encoders and the decoder."""
        given = self.table["relation"]
        shape, classes = topology(self.table), self.train.classes
        module = RelationUNet(1, classes, shape, deep_supervision=True, relate_every_stage=given["every_stage"])
        module.load_general(self.pretrained, also_target=given["also_target"])
        return cast(nn.Module, module)

    def loss(self, network: nn.Module, batch: Batch, step: int) -> Tensor:
        """Dice and cross entropy at every level, and the relation loss by its ramp."""
        given, found = self.table["relation"], network(batch["image"])
        weight = ramp_up(self.epoch(step), given["ramp_epochs"], given["weight"])
        relations = relation_loss(found.general, found.target, given["between"])
        return self.segmentation(found.logits, batch["labels"]) + weight * relations


def check_samples(table: Recipe, share: Share) -> None:
    """Raises: ValueRangeError: relations among samples, and a process has less than two of a batch."""
    batch = table["optimisation"]["batch"]
    if table["relation"]["between"] == "samples" and batch < 2 * share.world:
        got = str(batch) if share.world == 1 else f"{batch} for {share.world} processes"
        hint = 'a single sample has no relations; relation.between = "channels" takes one'
        raise ValueRangeError(describe("optimisation.batch", got, f"{2 * share.world} or more", hint))


def run(context: Context) -> nn.Module:
    """Pre-train on the pooled lesions, then train both encoders on the target."""
    check_samples(context.table, context.share)
    check_patch(context.table)
    with context.share.in_turn():
        target = target_volumes(context.table, context.data, context.out)
    pretrained = pretrain(context, is_pooled=True)
    return run_stage(context, RelationSystem(context.table, *target, pretrained=pretrained), "collaboration")
