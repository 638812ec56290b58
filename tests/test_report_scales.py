"""The report's axes, and its numbers, durations and moments as written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anybudget.report.scales import can_show, fit
from anybudget.report.words import duration, figure, moment, signed


@given(st.lists(st.floats(), min_size=1, max_size=8), st.booleans(), st.booleans(), st.integers(1, 10))
def test_axis_shows_every_value(values: list[float], widen: bool, whole: bool, ticks: int) -> None:
    scale = fit(values, (10.0, 200.0), ticks=ticks, padding=0.05, widen=widen, whole=whole)
    assert scale.low < scale.high
    for value in values:
        if can_show(value):
            assert 10.0 - 1e-6 <= scale(value) <= 200.0 + 1e-6
    assert len(scale.ticks) <= ticks + 3
    assert all(10.0 - 1e-3 <= scale(tick) <= 200.0 + 1e-3 for tick in scale.ticks)
    assert len(scale.labels()) == len(scale.ticks)


@given(st.floats(-1e12, 1e12), st.floats(1e-3, 1.0))
def test_tick_labels_tell_ticks_apart(low: float, width: float) -> None:
    scale = fit([low, low + width * max(1.0, abs(low))], (0.0, 100.0))
    assert len(set(scale.labels())) == len(scale.ticks) >= 2


def test_tick_labels() -> None:
    assert fit([1.4e6, 4.6e6], (0, 1), ticks=8).labels() == ["1.5M", "2.0M", "2.5M", "3.0M", "3.5M", "4.0M", "4.5M"]
    assert fit([0.0, 0.1], (0, 1), ticks=4).labels() == ["0", "0.025", "0.050", "0.075", "0.100"]
    assert fit([-1.0, 1.0], (0, 1), ticks=4).labels() == ["−1.0", "−0.5", "0", "0.5", "1.0"]
    assert fit([1, 4], (0, 1), ticks=9, whole=True).labels() == ["1", "2", "3", "4"]
    assert fit([99.2, 99.9], (0, 1), ticks=4, widen=True, bounds=(0, 100)).high == 100


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (duration(0.04), "0.0 s"),
        (duration(59.94), "59.9 s"),
        (duration(59.97), "1 min 0 s"),
        (duration(151.2), "2 min 31 s"),
        (duration(3600 * 26 + 60 * 5 + 7), "26 h 5 min"),
        (moment("2026-11-22T01:00:00+02:00"), "2026-11-21 23:00 UTC"),
        (moment("yesterday"), "yesterday"),
        (moment("0001-01-01T00:00:00+10:00"), "0001-01-01T00:00:00+10:00"),
        (signed(-0.001), "0.00"),
        (signed(-1.5), "−1.50"),
        (figure(1_900_000), "1.900M"),
        (figure(999.96), "1.000k"),
        (figure(999_960), "1.000M"),
        (figure(12.0), "12.00"),
    ],
)
def test_words(written: str, expected: str) -> None:
    assert written == expected
