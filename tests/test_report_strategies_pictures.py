"""The pictures of a comparison: scores by limit, what was evaluated, and the best so far."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anybudget.report import write_report
from anybudget.report.histogram import bins_of
from anybudget.report.progress import STEPS, improvements, thinned
from anybudget.report.series import DASHES, HUES, End, Series, names
from html_tree import parse
from report_comparisons import BUDGETS, TWO, bold, compared, drawn, page_of, picture, points, section_of, strategy
from report_pages import rows, section, write_run


def test_limits_picture_has_a_line_per_strategy_through_its_scores(tmp_path: Path) -> None:
    found = drawn(section_of(tmp_path), "limits")
    lines = found.find("polyline", "series")
    assert [line.classes for line in lines] == [["series", "hue-0", "dash-0"], ["series", "hue-1", "dash-1"]]
    (x2, y831), (x3, y840) = points(lines[0])
    per_point = (y840 - y831) / 0.9
    assert per_point < 0  # SVG counts downwards
    (x2_too, y810), (x3_too, y845) = points(lines[1])
    assert (x2_too, x3_too) == (x2, x3)
    assert y810 == pytest.approx(y831 - 2.1 * per_point, abs=0.1)
    assert y845 == pytest.approx(y840 + 0.5 * per_point, abs=0.1)
    # More costs limited: a ring at the same limit, on no line.
    rings = found.find("circle", "series-ring")
    assert [ring.number("cx") for ring in rings] == [x3, x3]
    assert rings[0].tooltip() == "generator, ≤ 3M MACs and ≤ 9k parameters: 82.00 %"
    # The name stands at the end of the line, not at the ring.
    names = {label.text(): label.number("y") for label in found.find("text", "end-label")}
    assert set(names) == {"generator", "random"}
    assert names["random"] == pytest.approx(y845 + 4, abs=0.1)


def test_limits_picture_joins_budgets_on_the_same_costs_in_order_of_the_limit(tmp_path: Path) -> None:
    budgets = [
        {"macs": 3e6},
        {"macs": 1e6},
        {"params": 5.0, "macs": 2e6},
        {"macs": 4e6, "params": 6.0},
        {"params": 7.0},
    ]
    strategies = [strategy("a", (82.0, 80.0, 70.0, 71.0, 60.0), budgets=budgets)]
    found = section_of(tmp_path, strategies, budgets=budgets)
    lines = [points(line) for line in drawn(found, "limits").find("polyline", "series")]
    assert [len(line) for line in lines] == [2, 2]
    assert all(line == sorted(line) for line in lines)
    assert len(drawn(found, "limits").find("circle")) == 4
    assert "Budgets without a limit on MACs are in the table only." in found.text()


def test_legend_shows_every_line_and_looks_differ(tmp_path: Path) -> None:
    found = section_of(tmp_path, [strategy(f"s{i}") for i in range(9)])
    items = found.find("ul", "key")[0].find("li")
    assert [item.text() for item in items] == [f"s{i}" for i in range(9)]
    looks = [" ".join(item.find("line")[0].classes) for item in items]
    assert len(set(looks)) == 9
    lines = drawn(found, "progress").find("polyline", "series")
    assert [" ".join(line.classes) for line in lines] == looks
    assert len({Series(i, "").line for i in range(HUES * DASHES)}) == HUES * DASHES


def test_style_sheet_has_every_look(tmp_path: Path) -> None:
    style = "".join(str(child) for child in page_of(tmp_path, compared(TWO)).find("style")[0].children)
    assert all(style.count(f"--hue-{hue}: #") == 2 for hue in range(HUES)), "each in light and in dark"
    assert all(f".hue-{hue} {{" in style for hue in range(HUES))
    assert all(f".dash-{dash} {{" in style for dash in range(1, DASHES))


def test_histograms_share_bins_and_heights_are_shares(tmp_path: Path) -> None:
    first, second = drawn(section_of(tmp_path), "histogram").find("g", "histogram")
    assert first.find("text", "row-title")[0].text() == "generator: 3 evaluated, 80.00 to 83.00 %, mean 81.67 %"
    assert second.find("text", "row-title")[0].text() == "random: 4 evaluated, 70.00 to 75.00 %, mean 72.00 %"
    assert (len(first.find("rect")), len(second.find("rect"))) == (3, 4)
    assert second.find("rect")[0].tooltip().endswith(": 1 of 4 (25 %)")
    thirds, quarters = ({rect.number("height") for rect in row.find("rect")} for row in (first, second))
    assert thirds.pop() * 3 == pytest.approx(quarters.pop() * 4, abs=0.1)
    assert len({rect.number("width") for row in (first, second) for rect in row.find("rect")}) == 1


@given(st.lists(st.floats(-1e100, 1e100) | st.floats(0, 100), min_size=1, max_size=30))
def test_bins_hold_every_value(values: list[float]) -> None:
    bins = bins_of(values)
    assert 1 <= bins.number <= 60
    assert sum(bins.counts(values)) == len(values)


def test_bins_have_round_edges_and_a_value_on_an_edge_falls_into_the_upper_one() -> None:
    bins = bins_of([0.0, 0.1 + 0.2, 50.0, 100.0])
    assert (bins.low, bins.high, bins.number) == (0.0, 100.0, 50)
    assert bins.counts([2.0, 3.999, 100.0])[1::48] == [2, 1]
    assert bins_of([83.1]).high <= 100.0
    fine = bins_of([0.0, 5.0])
    assert [fine.counts([index / 10]).index(1) for index in range(50)] == list(range(50))


def test_best_so_far_steps_where_a_new_best_was_evaluated(tmp_path: Path) -> None:
    found = drawn(section_of(tmp_path), "progress")
    line = points(found.find("polyline", "series")[1])  # 70, 72, 71, 75
    (x1, y70), (x2, y70_too), (x2_too, y72), (x4, y72_too), (x4_too, y75), (end, y75_too) = line
    assert (y70, y72, y75, x2, x4) == (y70_too, y72_too, y75_too, x2_too, x4_too)
    assert x4 - x2 == pytest.approx(2 * (x2 - x1), abs=0.05)
    assert (y70 - y72) * 3 == pytest.approx((y72 - y75) * 2, abs=0.1)
    assert end == x4
    tooltips = [dot.tooltip() for dot in found.find("circle", "series-dot")]
    assert tooltips == [
        "generator: best 83.00 %, found as number 2 of 3 evaluated",
        "random: best 75.00 %, found as number 4 of 4 evaluated",
    ]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50))
def test_improvements_are_the_running_maximum(values: list[float]) -> None:
    steps = dict(improvements(values))
    for number in range(1, len(values) + 1):
        assert max(steps[n] for n in steps if n <= number) == max(values[:number])
    assert all(low < high for low, high in pairwise(steps.values()))


@settings(max_examples=30)
@given(st.integers(1, 3000), st.integers(0, 3000))
def test_thinned_steps_are_exact_and_few(rising: int, level: int) -> None:
    total = rising + level
    steps = [(number, float(number)) for number in range(1, rising + 1)]
    kept = thinned(steps, total)
    assert len(kept) <= STEPS + 1
    assert set(kept) <= set(steps)
    assert (kept[0], kept[-1]) == (steps[0], steps[-1])
    assert kept == sorted(set(kept))


def test_many_evaluated_stay_small(tmp_path: Path) -> None:
    rising = [strategy(f"s{i}", evaluated=tuple(40 + n / 500 + i for n in range(20_000))) for i in range(3)]
    run = write_run(tmp_path, {"compare.json": json.dumps(compared(rising))}, only=True)
    path = write_report(run)
    without = write_report(write_run(tmp_path / "without", only=True))
    assert path.stat().st_size - without.stat().st_size < 70_000
    found = section(parse(path.read_text(encoding="utf-8")), "strategies")
    for line in drawn(found, "progress").find("polyline"):
        assert len(points(line)) <= 2 * STEPS + 2
    assert len(drawn(found, "histogram").find("rect")) <= 3 * 60
    assert "20000 evaluated" in drawn(found, "histogram").text()


def test_one_strategy_has_all_pictures_and_nothing_to_be_better_than(tmp_path: Path) -> None:
    found = section_of(tmp_path, [strategy("generator")])
    assert [picture(found, name) is not None for name in ("limits", "histogram", "progress")] == [True] * 3
    assert not any(bold(found))
    assert "Bold" not in found.text()


def test_one_budget_and_one_evaluated(tmp_path: Path) -> None:
    one = strategy("generator", (80.0,), (80.0,), budgets=BUDGETS[:1])
    found = section_of(tmp_path, [one], budgets=BUDGETS[:1])
    assert not drawn(found, "limits").find("polyline")
    assert len(drawn(found, "limits").find("circle", "series-dot")) == 1
    assert len(drawn(found, "histogram").find("rect")) == 1
    assert "Rings" not in found.text()


def test_strategy_that_evaluated_nothing_keeps_its_look_and_is_named(tmp_path: Path) -> None:
    found = section_of(tmp_path, [strategy("idle", evaluated=()), strategy("busy")])
    [row] = drawn(found, "histogram").find("g", "histogram")
    assert row.classes == ["histogram", "hue-1"]
    assert [line.classes[1] for line in drawn(found, "progress").find("polyline")] == ["hue-1"]
    assert "Nothing was evaluated by idle." in found.text()


def test_budgets_without_the_cost_leave_out_the_picture(tmp_path: Path) -> None:
    budgets = [{"params": 9000.0}]
    found = section_of(tmp_path, [strategy("a", (80.0,), budgets=budgets)], budgets=budgets)
    assert picture(found, "limits") is None
    assert rows(found) == [["≤ 9k parameters", "80.00"]]


@given(st.lists(st.tuples(st.floats(50, 800), st.floats(40, 360)), min_size=1, max_size=12))
def test_names_at_line_ends_never_meet(spots: list[tuple[float, float]]) -> None:
    labels = parse(str(names([End(Series(0, "n" * 30), x, y) for x, y in spots], 370.0))).find("text")
    assert len(labels) == len(spots)
    boxes = sorted((label.number("x"), label.number("y")) for label in labels)
    for index, (x, y) in enumerate(boxes):
        assert y <= 374.01
        assert all(x2 - x >= 100 or abs(y2 - y) >= 15.9 for x2, y2 in boxes[index + 1 :])
