"""The four sets of slices of MiniSeg, five folds each, by MiniSeg's figures.

A slice is called VOLUME_NUMBER, such as coronacases_006_0045, study_0258_0012 or 2_0006; those of CT100 are tr_im_0006.
The folds divide volumes, so that slices of one volume are on one side.

Source: Qiu et al. 2021, AAAI 35(6):4846-4854; folds from the masks that github.com/yun-liu/MiniSeg publishes.
"""

from __future__ import annotations

from covfast.protocols.protocol import EvaluationSet, Protocol
from covfast.protocols.splits import miniseg_folds

SETS = ("ct100", "p9", "p20", "p1110")
SIDE_PX = 512
"""Images are compared at this size: the network's output as it is, the truth by nearest neighbour."""


def protocols() -> list[Protocol]:
    """One protocol a set."""
    return [
        Protocol(
            name=f"miniseg-{name}",
            title=f"MiniSeg's COVID-19-{name.upper()}, infection in slices, 5 folds",
            convention="miniseg",
            setting=f"miniseg-{name}",
            sets=(EvaluationSet("test", name, "slices", miniseg_folds(name)),),
            readings=("figures of each fold, then the mean of the five",),
        )
        for name in SETS
    ]


def volume_of(data: str, image: str) -> str:
    """The volume that a slice belongs to, by its name; of CT100 the slice itself."""
    return image if data == "ct100" else image.rpartition("_")[0]
