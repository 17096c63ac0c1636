"""The arithmetic of the results: medians over the rounds, their spread, and whether a goal is met."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

# By so much two programs differ from run to run on one machine, for reasons such as where their memory lies.
NOISE = 0.15
DIGITS = 4


@dataclass(frozen=True)
class Figure:
    """A figure as each round gave it; a ratio has one value from each round's two bursts."""

    rounds: tuple[float, ...]

    @classmethod
    def ratio(cls, ours: Iterable[float], others: Iterable[float]) -> Figure:
        """Ours over the other's, round by round."""
        return cls(tuple(round(our / other, DIGITS) for our, other in zip(ours, others, strict=True)))

    @property
    def inverse(self) -> Figure:
        """The other's over ours."""
        return Figure(tuple(1 / value for value in self.rounds))

    @property
    def median(self) -> float:
        """The value that is told."""
        return statistics.median(self.rounds)

    @property
    def spread(self) -> float:
        """How far a round strays from the median, at most, as a share of it."""
        return max(abs(value / self.median - 1) for value in self.rounds)

    def at_most(self, goal: float, noise: float = 0) -> str:
        """Whether it is at most the goal: met, missed, or too near to tell."""
        margin = 1 + max(self.spread, noise)
        if self.median * margin <= goal:
            return "met"
        return "missed" if self.median / margin > goal else "within the spread"

    def at_least(self, goal: float, noise: float = 0) -> str:
        """Whether it is at least the goal."""
        return self.inverse.at_most(1 / goal, noise)
