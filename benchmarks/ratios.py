"""Whether a ratio got worse than what was accepted. Pure; `bench` measures and prints."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import NamedTuple

#: Medians on shared cores come within a few per cent; a third is no noise.
TOLERANCE = 1 / 3


class Better(enum.Enum):
    LOWER = "lower"
    """A cost, of the floor's."""
    HIGHER = "higher"
    """A yield, of the limit."""


class Ratio(NamedTuple):
    name: str
    value: float
    better: Better


def limit(ratio: Ratio, accepted: float) -> float:
    """What the ratio may come to before it counts as worse."""
    if ratio.better is Better.LOWER:
        return accepted * (1 + TOLERANCE)
    return accepted * (1 - TOLERANCE)


def is_worse(ratio: Ratio, accepted: float) -> bool:
    if ratio.better is Better.LOWER:
        return ratio.value > limit(ratio, accepted)
    return ratio.value < limit(ratio, accepted)


def complaints(measured: Sequence[Ratio], accepted: Mapping[str, float]) -> list[str]:
    """One line for each ratio that is worse by a third, or not in both."""
    found = [
        f"{ratio.name}: {ratio.value:.2f}, accepted {accepted[ratio.name]:.2f}, "
        f"allowed {limit(ratio, accepted[ratio.name]):.2f} ({ratio.better.value} is better)"
        for ratio in measured
        if ratio.name in accepted and is_worse(ratio, accepted[ratio.name])
    ]
    names = {ratio.name for ratio in measured}
    found += [f"{name}: was measured, is not accepted" for name in sorted(names - set(accepted))]
    found += [f"{name}: is accepted, was not measured" for name in sorted(set(accepted) - names)]
    return found
