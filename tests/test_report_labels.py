"""Labels of the report's pictures: off whatever is in their way, found without looking at all of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anybudget.report import svg

AREA = svg.Box(10.0, 5.0, 400.0, 300.0)
places = st.floats(-60.0, 480.0)
boxes = st.builds(
    lambda x, y, width, height: svg.Box(x, y, x + width, y + height),
    places,
    places,
    st.floats(0, 200),
    st.floats(0, 90),
)


@given(st.lists(boxes, max_size=12), boxes)
def test_a_box_is_free_where_it_overlaps_nothing(blocked: list[svg.Box], asked: svg.Box) -> None:
    labels = svg.Labels(AREA)
    for box in blocked:
        labels.block(box)
    inside = svg.Box(
        min(max(asked.left, AREA.left), AREA.right),
        min(max(asked.top, AREA.top), AREA.bottom),
        min(max(asked.right, AREA.left), AREA.right),
        min(max(asked.bottom, AREA.top), AREA.bottom),
    )
    assert labels.is_free(inside) == (not any(inside.overlaps(box) for box in blocked))


def test_what_is_far_from_a_label_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the picture with twice the points takes about twice the comparisons, not four times as many."""
    looked = 0
    overlaps = svg.Box.overlaps

    def counted(box: svg.Box, other: svg.Box) -> bool:
        nonlocal looked
        looked += 1
        return overlaps(box, other)

    monkeypatch.setattr(svg.Box, "overlaps", counted)
    found = {}
    for count in (50, 400):
        looked = 0
        labels = svg.Labels(svg.Box(0, 0, 40.0 * count, 100.0))
        spots = [(40.0 * index + 20.0, 50.0 + index % 7) for index in range(count)]
        labels.block_line(spots)
        placed = [labels.place(x, y, "83.2", "point-label") for x, y in spots]
        assert all(placed)
        found[count] = looked / count
    assert found[400] < 1.2 * found[50]
