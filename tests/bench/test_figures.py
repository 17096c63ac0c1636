"""Medians, ratios, spreads, and what counts as met."""

from __future__ import annotations

import pytest
from bench.figures import Figure


def test_a_ratio_is_made_round_by_round():
    ratio = Figure.ratio([10, 30, 24], [5, 10, 12])
    assert ratio.rounds == (2, 3, 2)
    assert ratio.median == 2
    assert ratio.inverse.rounds == (1 / 2, 1 / 3, 1 / 2)


def test_the_spread_is_the_furthest_round_from_the_median():
    assert Figure((1.0, 1.1, 0.7)).spread == pytest.approx(0.3)
    assert Figure((24.0,)).spread == 0


def test_rounds_of_different_number_are_no_ratio():
    with pytest.raises(ValueError, match="shorter"):
        Figure.ratio([1, 2], [1])


@pytest.mark.parametrize(
    ("rounds", "verdict"),
    [
        ((1.0, 1.0, 1.0), "met"),
        ((1.4, 1.4, 1.4), "met"),
        ((1.4, 1.4, 1.6), "within the spread"),
        ((1.5, 1.5, 1.5), "met"),
        ((1.6, 1.6, 1.4), "within the spread"),
        ((1.6, 1.6, 1.6), "missed"),
        # A wide spread proves nothing, whichever side the median is on.
        ((1.0, 1.0, 2.0), "within the spread"),
        ((3.0, 3.0, 9.0), "within the spread"),
    ],
)
def test_a_goal_is_met_or_missed_only_beyond_the_spread(rounds, verdict):
    assert Figure(rounds).at_most(1.5) == verdict


@pytest.mark.parametrize(
    ("value", "verdict"), [(1.3, "met"), (1.4, "within the spread"), (1.7, "within the spread"), (1.8, "missed")]
)
def test_the_noise_of_the_machine_widens_a_narrow_spread(value, verdict):
    assert Figure((value, value)).at_most(1.5, 0.15) == verdict


def test_the_noise_of_the_machine_does_not_narrow_a_wide_spread():
    assert Figure((1.0, 1.0, 1.6)).at_most(1.5, 0.15) == "within the spread"


@pytest.mark.parametrize(
    ("rounds", "verdict"),
    [
        ((2.5, 2.5, 2.6), "met"),
        ((2.1, 2.1, 2.1), "within the spread"),
        ((1.9, 1.9, 1.9), "within the spread"),
        ((1.5, 1.5, 1.6), "missed"),
    ],
)
def test_a_goal_can_be_a_least_value(rounds, verdict):
    assert Figure(rounds).at_least(2, 0.15) == verdict
