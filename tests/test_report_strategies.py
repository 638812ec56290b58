"""The report's comparison of strategies: table and pictures of a compare.json small enough to check by hand."""

from __future__ import annotations

import copy
import json
import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anybudget.errors import RunError
from anybudget.report import write_report
from anybudget.report.histogram import bins_of
from anybudget.report.progress import STEPS, improvements, thinned
from anybudget.report.series import DASHES, HUES, End, Series, names
from html_tree import Node, parse
from report_pages import FILES, SECTIONS, report, rows, section, write_run

BUDGETS = [{"macs": 2e6}, {"macs": 3e6}, {"macs": 3e6, "params": 9000.0}]


def answer(limits: dict[str, float], top1: float, **costs: float) -> dict[str, Any]:
    used = {cost: 0.99 * limit for cost, limit in limits.items()} | costs
    return {
        "budgets": limits,
        "architecture": {"space": "unified", "choices": [1, 2]},
        "costs": used,
        "slack": {cost: limit - used[cost] for cost, limit in limits.items()},
        "supernet_top1_percent": top1,
        "log_probability": None,
        "seconds": 1.5,
    }


def strategy(
    name: str,
    scores: tuple[float, ...] = (80.0, 82.0, 81.0),
    evaluated: tuple[float, ...] = (70.0, 72.0, 71.0, 75.0),
    budgets: list[dict[str, float]] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    limits = BUDGETS if budgets is None else budgets
    return {
        "name": name,
        "candidates": [answer(limit, score) for limit, score in zip(limits, scores, strict=True)],
        "hypervolume": 0.8,
        "spent": {"evaluations": 640, "images": 1480000, "macs": 1.2e12, "seconds": 120.6},
        "training": {"evaluations": 0, "images": 0, "macs": 0.0, "seconds": 0.0},
        "evaluated": [{"cost": 1e6, "top1_percent": top1} for top1 in evaluated],
        **changes,
    }


TRAINING = {"evaluations": 0, "images": 179200, "macs": 3e11, "seconds": 45.0}
TWO = [
    strategy("generator", (83.1, 84.0, 82.0), (80.0, 83.0, 82.0), training=TRAINING, hypervolume=0.8123),
    strategy("random", (81.0, 84.5, 82.0), hypervolume=0.79, spent=TRAINING | {"evaluations": 4, "images": 4000}),
]


def compared(strategies: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    return {
        "budgets": BUDGETS,
        "cost": "macs",
        "reference": {"cost": 3e6, "top1_percent": 0.0},
        "strategies": strategies,
        **changes,
    }


def page_of(folder: Path, data: dict[str, Any]) -> Node:
    return report(folder, {"compare.json": json.dumps(data)}, only=True)


def section_of(folder: Path, strategies: list[dict[str, Any]] = TWO, **changes: Any) -> Node:
    return section(page_of(folder, compared(strategies, **changes)), "strategies")


def picture(node: Node, name: str) -> Node | None:
    slug = f"strategies-{name}-title"
    return next((svg for svg in node.find("svg") if svg.attributes.get("aria-labelledby", "").startswith(slug)), None)


def drawn(node: Node, name: str) -> Node:
    found = picture(node, name)
    assert found is not None, f"no picture {name}"
    return found


def points(polyline: Node) -> list[tuple[float, float]]:
    pairs = (point.split(",") for point in polyline.attributes["points"].split())
    return [(float(x), float(y)) for x, y in pairs]


def test_section_stands_between_its_neighbours_and_is_linked(tmp_path: Path) -> None:
    page = report(tmp_path, {"compare.json": json.dumps(compared(TWO))})
    after = SECTIONS.index("architectures")
    expected = [*SECTIONS[:after], "strategies", *SECTIONS[after:]]
    assert [node.attributes["id"] for node in page.find("section")] == expected
    assert "#strategies" in [link.attributes["href"] for link in page.find("a")]


def test_no_file_no_section(tmp_path: Path) -> None:
    page = report(tmp_path)
    assert page.by_id("strategies") is None
    assert "#strategies" not in [link.attributes["href"] for link in page.find("a")]


def test_ids_and_pictures_are_accessible_and_need_no_network(tmp_path: Path) -> None:
    run = write_run(tmp_path, {"compare.json": json.dumps(compared(TWO))})
    text = write_report(run).read_text(encoding="utf-8")
    assert not re.search(r"https?:|@import|url\(", text)
    page = parse(text)
    ids = [node.attributes["id"] for node in page.walk() if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    shown = [svg for svg in page.find("svg") if svg.attributes.get("aria-hidden") != "true"]
    assert len(shown) == 10 + 3
    for svg in shown:
        assert svg.attributes["role"] == "img"
        for name in svg.attributes["aria-labelledby"].split():
            assert section(svg, name).children, name


def test_same_folder_same_bytes(tmp_path: Path) -> None:
    run = write_run(tmp_path, {"compare.json": json.dumps(compared(TWO))})
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_table(tmp_path: Path) -> None:
    found = section_of(tmp_path)
    table = found.find("table")[0]
    assert [cell.text() for cell in table.find("thead")[0].find("th")] == ["Budget", "generator", "random"]
    assert rows(found) == [
        ["≤ 2M MACs", "83.10", "81.00"],
        ["≤ 3M MACs", "84.00", "84.50"],
        ["≤ 3M MACs≤ 9k parameters", "82.00", "82.00"],
    ]
    totals = [[cell.text() for cell in row.find() if cell.tag in ("th", "td")] for row in table.find("tr")[4:]]
    assert totals == [
        ["Hypervolume", "0.8123", "0.7900"],
        ["Candidates evaluated", "640", "4"],
        ["Images, training included", "1.480M of it 179.2k in training", "4.000k"],
        ["Time, training included", "2 min 1 s of it 45.0 s in training", "45.0 s"],
    ]
    assert "rectangle between 3M MACs at 0 % and no cost at 100 %" in found.text()


def bold(node: Node) -> list[list[str]]:
    """The bold texts of each row of the table's body."""
    return [[cell.text() for cell in row.find("strong")] for row in node.find("table")[0].find("tr")[1:]]


def test_best_of_each_row_is_bold_and_equals_are_equally_good(tmp_path: Path) -> None:
    assert bold(section_of(tmp_path)) == [["83.10"], ["84.50"], ["82.00", "82.00"], ["0.8123"], [], [], []]


def test_equal_as_written_is_equally_good(tmp_path: Path) -> None:
    strategies = [strategy("a", (80.001, 1.0, 1.0)), strategy("b", (80.004, 2.0, 2.0))]
    assert bold(section_of(tmp_path, strategies))[0] == ["80.00", "80.00"]


def test_over_the_limit_is_told_and_never_the_best(tmp_path: Path) -> None:
    cheat = strategy("cheat", (99.0, 70.0, 70.0))
    cheat["candidates"][0] = answer(BUDGETS[0], 99.0, macs=2e6 + 1)
    found = section_of(tmp_path, [cheat, strategy("honest")])
    assert bold(found)[0] == ["80.00"]
    assert rows(found)[0] == ["≤ 2M MACs", "99.00, over the limit", "80.00"]
    assert "1 of 6 answers exceeds the limit" in found.text()
    crosses = [node.tooltip() for node in drawn(found, "limits").find("g") if node.find("line", "over")]
    assert crosses == ["cheat, ≤ 2M MACs: 99.00 % (over the budget)"]


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


def test_no_strategies_no_section(tmp_path: Path) -> None:
    page = page_of(tmp_path, compared([]))
    assert [node.attributes["id"] for node in page.find("section")] == ["overview", "recipe"]


def test_nothing_evaluated_and_no_budgets(tmp_path: Path) -> None:
    found = section_of(tmp_path, [strategy("a", (), (), budgets=[]), strategy("b", (), (), budgets=[])], budgets=[])
    assert rows(found) == []
    assert len(found.find("table")[0].find("tbody", "totals")[0].find("tr")) == 4
    assert not found.find("svg")
    assert not found.find("figure")


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


def test_names_are_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\"'><img src=x onerror=y>&amp;" + "</svg></title>" * 20
    budgets = [{evil: 5.0}, {evil: 6.0}]
    strategies = [strategy(evil, (80.0, 81.0), budgets=budgets), strategy("<b>", (80.0, 81.0), (), budgets=budgets)]
    page = page_of(tmp_path, compared(strategies, budgets=budgets, cost=evil))
    assert len(page.find("script")) == 1
    assert not page.find("img")
    assert not page.find("b")
    found = section(page, "strategies")
    assert [cell.text() for cell in found.find("thead")[0].find("th")] == ["Budget", evil, "<b>"]
    assert [item.text() for item in found.find("ul", "key")[0].find("li")] == [evil, "<b>"]
    assert all(len(label.text()) <= 15 for label in drawn(found, "limits").find("text", "end-label"))


@given(st.lists(st.tuples(st.floats(50, 800), st.floats(40, 360)), min_size=1, max_size=12))
def test_names_at_line_ends_never_meet(spots: list[tuple[float, float]]) -> None:
    labels = parse(str(names([End(Series(0, "n" * 30), x, y) for x, y in spots], 370.0))).find("text")
    assert len(labels) == len(spots)
    boxes = sorted((label.number("x"), label.number("y")) for label in labels)
    for index, (x, y) in enumerate(boxes):
        assert y <= 374.01
        assert all(x2 - x >= 100 or abs(y2 - y) >= 15.9 for x2, y2 in boxes[index + 1 :])


def without(data: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != key}


def one(**changes: Any) -> dict[str, Any]:
    """A comparison of one strategy that has something wrong with it."""
    return compared([strategy("ok"), strategy("bad") | changes])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{", r"compare\.json, line 1: not JSON"),
        ("[]", r"compare\.json: expected a JSON object"),
        ({}, r'compare\.json: lacks "budgets"; found nothing'),
        *((without(compared(TWO), key), rf'compare\.json: lacks "{key}"') for key in compared(TWO)),
        (compared(TWO, budgets={}), r'compare\.json: "budgets" must be a list, found \{\}'),
        (compared(TWO, budgets=[3]), r'compare\.json: "budgets", item 1 must be an object, found 3'),
        (compared(TWO, budgets=[{}]), r'"budgets", item 1 must hold at least one budget'),
        (compared(TWO, budgets=[{"macs": 0}]), r'item 1: the budget "macs" must be above 0, found 0'),
        (compared(TWO, cost=3), r'compare\.json: "cost" must be a text, found 3'),
        (compared(TWO, reference=None), r'compare\.json: "reference" must be an object, found None'),
        (compared(TWO, reference={"cost": 1}), r'"reference": lacks "top1_percent"; found cost'),
        (compared(TWO) | {"strategies": {"a": 1}}, r'"strategies" must be a list'),
        (
            compared([strategy("a")]) | {"strategies": [strategy("a"), None]},
            r'compare\.json: "strategies", item 2 must be an object, found None',
        ),
        *(
            (compared([without(strategy("a"), key)]), rf'"strategies", item 1: lacks "{key}"; found')
            for key in strategy("a")
        ),
        (one(name=None), r'"strategies", item 2: "name" must be a text, found None'),
        (one(hypervolume="x"), r'"strategies", item 2: "hypervolume" must be a number'),
        (one(hypervolume=float("nan")), r'"hypervolume" must be a finite number.*nan'),
        (one(candidates=[]), r'"candidates" must hold one for each of 3 budget sets, found 0'),
        (one(candidates=strategy("a")["candidates"][::-1]), r'"candidates", item 1: "budgets" must be those of budget'),
        (
            one(candidates=[without(answer(BUDGETS[0], 80.0), "costs")] * 3),
            r'"strategies", item 2: "candidates", item 1: lacks "costs"',
        ),
        (one(spent={}), r'item 2: "spent": lacks "evaluations"; found nothing'),
        (one(spent=TRAINING | {"images": -1}), r'"spent": "images" must not be negative, found -1'),
        (one(training=TRAINING | {"seconds": True}), r'"training": "seconds" must be a number, found True'),
        (one(evaluated=[{"cost": 1}]), r'"evaluated", item 1: lacks "top1_percent"; found cost'),
        (one(evaluated=[{"top1_percent": 1}, {"top1_percent": []}]), r'"evaluated", item 2: "top1_percent" must be'),
        (one(evaluated=7), r'"evaluated" must be a list, found 7'),
    ],
)
def test_damage_is_named_with_its_place(tmp_path: Path, data: Any, message: str) -> None:
    run = write_run(tmp_path, {"compare.json": data if isinstance(data, str) else json.dumps(data)})
    with pytest.raises(RunError, match=message) as caught:
        write_report(run)
    assert str(tmp_path / "compare.json") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(tmp_path)) + 500
    assert not (run / "report.html").exists()


@pytest.mark.parametrize("value", [0.0, -5.0, 100.0, 1e100, -1e100, 1e-320])
def test_values_that_cannot_be_still_give_a_page(tmp_path: Path, value: float) -> None:
    amounts = {"evaluations": abs(value), "images": abs(value), "seconds": abs(value)}
    odd = strategy("odd", (value, 80.0, value), (value, 80.0), hypervolume=value, spent=amounts, training=amounts)
    found = section_of(
        tmp_path, [odd, strategy("even", evaluated=(value,))], reference={"cost": value, "top1_percent": 0}
    )
    coordinates = " ".join(line.attributes["points"] for line in found.find("polyline"))
    assert "nan" not in coordinates
    assert "inf" not in coordinates


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_damage_gives_anything_but_a_report_or_a_run_error(tmp_path: Path, data: st.DataObject) -> None:
    shutil.rmtree(tmp_path)
    run = write_run(tmp_path, {"compare.json": json.dumps(compared(TWO))}, only=True)
    target = run / "compare.json"
    content = target.read_bytes()
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 12)))
    junk = data.draw(
        st.one_of(st.binary(max_size=4), st.sampled_from([b"1e400", b"1e-320", b"-", b"null", b"{}", b"[]", b'"']))
    )
    target.write_bytes(content[:start] + junk + content[end:])
    complaint = ""
    try:
        parse(write_report(run).read_text(encoding="utf-8"))
    except RunError as error:
        complaint = str(error)
    assert complaint == "" or str(run) in complaint
    assert "\n" not in complaint


def test_comparison_needs_no_other_stage(tmp_path: Path) -> None:
    page = page_of(tmp_path, compared(TWO))
    assert [node.attributes["id"] for node in page.find("section")] == ["overview", "strategies", "recipe"]
    assert "compare.json" not in FILES


@pytest.mark.parametrize(
    ("min_use", "told"), [(0.9, "had to use at least 90 % of what its budget leaves"), (0.0, "min_use is 0")]
)
def test_the_floor_that_applied_is_told(tmp_path: Path, min_use: float, told: str) -> None:
    assert told in section_of(tmp_path, min_use=min_use).text()


def test_an_older_file_says_no_floor(tmp_path: Path) -> None:
    assert "min_use" not in section_of(tmp_path).text()


def test_earlier_comparisons_are_named_in_order(tmp_path: Path) -> None:
    for number in (10, 2):
        (tmp_path / f"compare.{number}.json").write_text("{}")
    said = section_of(tmp_path).text()
    assert "Earlier comparisons are kept in compare.2.json, compare.10.json." in said


def test_the_best_of_a_row_is_that_of_the_primary_metric(tmp_path: Path) -> None:
    results = copy.deepcopy(TWO)
    for place, result in enumerate(results):
        for row in result["candidates"]:
            row["supernet_balanced_accuracy_percent"] = 10.0 + place
    changes = {"metric": "balanced_accuracy_percent", "reference": {"cost": 3e6, "balanced_accuracy_percent": 0.0}}
    section = section_of(tmp_path, results, **changes)
    assert "by balanced_accuracy_percent" in section.text()
    last = f"{results[1]['candidates'][0]['supernet_top1_percent']:.2f}"
    assert bold(section)[0] == [last]
