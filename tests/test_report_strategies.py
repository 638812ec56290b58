"""The report's comparison of strategies: its place on the page, its table and what is said of it."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import pytest

from anybudget.report import write_report
from html_tree import parse
from report_comparisons import BUDGETS, TWO, answer, bold, compared, drawn, page_of, section_of, strategy
from report_pages import FILES, SECTIONS, report, rows, section, write_run


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


def test_no_strategies_no_section(tmp_path: Path) -> None:
    page = page_of(tmp_path, compared([]))
    assert [node.attributes["id"] for node in page.find("section")] == ["overview", "recipe"]


def test_nothing_evaluated_and_no_budgets(tmp_path: Path) -> None:
    found = section_of(tmp_path, [strategy("a", (), (), budgets=[]), strategy("b", (), (), budgets=[])], budgets=[])
    assert rows(found) == []
    assert len(found.find("table")[0].find("tbody", "totals")[0].find("tr")) == 4
    assert not found.find("svg")
    assert not found.find("figure")


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
