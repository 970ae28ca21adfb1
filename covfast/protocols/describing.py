"""What a data set's folder must hold, and what one lacks, in words."""

from __future__ import annotations

from collections.abc import Collection

from covfast.protocols.datasets import Found, Part, Problem
from covfast.protocols.miniseg_sets import SETS
from covfast.protocols.splits import miniseg_images

MOST = 8
"""Problems of one kind that are spelled out; the rest is counted."""


def describe_part(part: Part) -> str:
    """The expected tree, the source and the licence."""
    suffix = ("CASE.png or .jpg", "CASE.png") if part.is_picture else ("CASE.nii.gz", "CASE.nii.gz")
    either = " (or " + ", ".join(part.folders[1:]) + ")" if len(part.folders) > 1 else ""
    named = enumerate(part.truths.items())
    lines = [
        f"{part.title}, {part.name}",
        f"  source   {part.url}",
        f"  licence  {part.licence}",
        f"  cases    {_cases(part)}",
        f"  DIR/{part.folders[0]}/{either}",
        f"    {' or '.join(part.images)}/  {suffix[0]}",
        *(f"    {'or ' * bool(n)}{truths}/  {suffix[1]}{_values(values)}" for n, (truths, values) in named),
    ]
    if part.windowed:
        low, high = part.window_of(part.windowed) or (0.0, 0.0)
        lines.append(f"  cases {part.windowed}*: windowed to {low:g} {high:g} HU, scaled to 0..255; the others in HU")
    return "\n".join(lines)


def _cases(part: Part) -> str:
    if part.data in SETS:
        counts = miniseg_images(part.data)
        return f"{sum(counts)} slices, in folds of {', '.join(map(str, counts))}"
    if part.cases is None:
        return f"{part.count} slices by any names, a mask called as its image" if part.count else "all that are there"
    return f"{len(part.cases)}, {part.cases[0]} to {part.cases[-1]}"


def _values(values: Collection[int]) -> str:
    return f", labels {', '.join(map(str, sorted(values)))}" if values else ""


def describe_problems(found: Found) -> str:
    """One line if all is there, else what is missing, extra, double, mismatched, corrupt or of other labels."""
    head = f"{found.part.title}, {found.part.name}: {len(found.cases)} usable cases"
    kinds: dict[str, list[Problem]] = {}
    for problem in found.problems:
        kinds.setdefault(problem.kind, []).append(problem)
    if not kinds:
        return f"{head}, complete"
    lines = [f"{head}, {', '.join(f'{len(items)} {kind}' for kind, items in kinds.items())}"]
    for kind, items in kinds.items():
        lines += [f"  {kind:<10} {item.error}" for item in items[:MOST]]
        if len(items) > MOST:
            lines.append(f"  {kind:<10} and {len(items) - MOST} more")
    return "\n".join(lines)
