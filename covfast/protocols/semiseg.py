"""COVID-SemiSeg: 50 slices train, 48 are tested, by Inf-Net's figures of probability maps.

The tested slices are not named here, their number is: names of the 48 were not at hand.

Source: Fan et al. 2020, IEEE TMI 39(8):2626-2637; github.com/DengPingFan/Inf-Net.
"""

from __future__ import annotations

from covfast.protocols.protocol import EvaluationSet, Protocol
from covfast.protocols.splits import Fold

WHOLE = (Fold(0, (), ()),)
"""One division, whose cases are all that the folder holds."""

_CLASSES = {"ggo": ("ground glass", 38), "consolidation": ("consolidation", 75)}
"""Name -> words, value in the multi-class truths."""


def protocols() -> list[Protocol]:
    """Infection, and its two classes apart."""
    sets = (
        EvaluationSet("test", "semiseg", "test", WHOLE),
        EvaluationSet("train", "semiseg", "train", WHOLE, is_published=False),
    )
    infection = Protocol(
        name="semiseg",
        title="COVID-SemiSeg, infection in slices: 50 train, 48 are tested",
        convention="infnet",
        setting="semiseg",
        sets=sets,
    )
    return [infection, *(_class(name) for name in _CLASSES)]


def _class(name: str) -> Protocol:
    words, value = _CLASSES[name]
    sets = (
        EvaluationSet("test", "semiseg", "classes-test", WHOLE, truth_value=value),
        EvaluationSet("train", "semiseg", "classes-train", WHOLE, truth_value=value, is_published=False),
    )
    return Protocol(
        name=f"semiseg-{name}",
        title=f"COVID-SemiSeg, {words} in slices",
        convention="infnet",
        setting=f"semiseg-{name}",
        sets=sets,
        readings=("each class is measured as the infection is, its own value as foreground",),
    )
