"""The report: its numbers, drawings and sections against run folders small enough to check by hand."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anybudget.errors import RunError
from anybudget.report import blocks, write_report
from anybudget.report.scales import can_show, fit
from anybudget.report.words import duration, figure, moment, signed

VOID = {"meta", "link", "br", "img", "input", "hr", "col", "wbr", "source"}


@dataclass
class Node:
    tag: str
    attributes: dict[str, str]
    children: list[Node | str] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        return self.attributes.get("class", "").split()

    def text(self) -> str:
        """The text a person sees: tooltips and descriptions left out."""
        hidden = {"title", "desc"}
        parts = (
            c if isinstance(c, str) else c.text() for c in self.children if isinstance(c, str) or c.tag not in hidden
        )
        return " ".join("".join(parts).split())

    def walk(self) -> Iterator[Node]:
        yield self
        for child in self.children:
            if isinstance(child, Node):
                yield from child.walk()

    def find(self, tag: str = "", class_: str = "") -> list[Node]:
        return [n for n in self.walk() if (not tag or n.tag == tag) and (not class_ or class_ in n.classes)]

    def by_id(self, name: str) -> Node | None:
        return next((n for n in self.walk() if n.attributes.get("id") == name), None)

    def tooltip(self) -> str:
        return "".join(str(c) for n in self.children if isinstance(n, Node) and n.tag == "title" for c in n.children)

    def number(self, attribute: str) -> float:
        return float(self.attributes[attribute])


class TreeBuilder(HTMLParser):
    """Builds a tree, and refuses what a browser would have to guess at: a tag closed out of order or never."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("", {})
        self.stack = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"attribute given twice in <{tag}>"
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.stack[-1].children.append(node)
        if tag not in VOID:
            self.stack.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.stack[-1].tag == tag, f"</{tag}> closes <{self.stack[-1].tag}>"
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        self.stack[-1].children.append(data)


def parse(page: str) -> Node:
    builder = TreeBuilder()
    builder.feed(page)
    builder.close()
    assert len(builder.stack) == 1, f"<{builder.stack[-1].tag}> is never closed"
    return builder.root


def candidate(
    limit: float,
    used: float,
    top1: float,
    choice: int = 0,
    layers: Any = (("3x3", "5x5", "skip"), ("7x7", "7x7", "3x3")),
) -> dict[str, Any]:
    return {
        "budgets": {"macs": limit},
        "architecture": {"space": "unified", "choices": [choice, choice]},
        "costs": {"macs": used, "params": 12352.0, "conv_macs": used - 1000},
        "slack": {"macs": 10**9},  # wrong on purpose: a report must not repeat what it can compute
        "supernet_top1_percent": top1,
        "log_probability": -12.5,
        "seconds": 1.25,
        "layers": layers,
    }


def drawn(limit: float, used: float, top1: float) -> dict[str, Any]:
    return {
        "budgets": {"macs": limit},
        "architecture": {"space": "unified", "choices": [7, 7]},
        "costs": {"macs": used, "params": 11000.0},
        "supernet_top1_percent": top1,
    }


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


TRAINING_CSV = (
    "epoch,loss,train_top1_percent,learning_rate,seconds\n1,2.0,30.0,0.05,3\n2,1.0,60.0,0.04,3\n3,0.5,75.0,0.01,3\n"
)
RESULT = {
    "architecture": {"space": "unified", "choices": [2, 2]},
    "costs": {"macs": 2990000.0, "params": 12352.0},
    "test_top1_percent": 88.25,
    "validation_top1_percent": 88.75,
    "inherited": False,
    "epochs": 3,
    "seconds": 95.0,
    "layers": [["3x3"]],
}
# At 2M: random 78, 80, 82 (mean 80, best 82) against 83. At 3M: random 81, 83 (mean 82, best 83) against 82.5.
FILES = {
    "recipe.toml": 'name = "tiny run"\n[data]\nsource = "shapes"\n[space]\nname = "unified"\n',
    "provenance.json": json.dumps({"seed": 7, "git_commit": "abc123", "gpu": None}),
    "stages.json": json.dumps(
        {
            "retrain": {"seconds": 60.0, "finished": "2026-11-22T01:30:00+00:00"},
            "supernet": {"seconds": 180.0, "finished": "2026-11-22T02:00:00+01:00"},
        }
    ),
    "supernet.csv": TRAINING_CSV,
    "generator.csv": (
        "epoch,cross_entropy,budget_gap_percent,temperature,seconds\n1,1.5,20.0,5.0,2\n2,1.2,5.0,4.75,2\n3,1.1,2.5,4.5,2\n"
    ),
    "candidates.jsonl": lines(
        [
            candidate(2e6, 1.5e6, 70.0, choice=9),  # asked again below
            candidate(3e6, 2.97e6, 82.5, choice=2),
            candidate(2e6, 1.9e6, 83.0, choice=1),
        ]
    ),
    "random.jsonl": lines(
        [drawn(2e6, 1.8e6 + i, top1) for i, top1 in enumerate((78.0, 82.0, 80.0))]
        + [drawn(3e6, 2.9e6 + i, top1) for i, top1 in enumerate((81.0, 83.0))]
    ),
    "retrain/abcdef0123/result.json": json.dumps(RESULT),
    "retrain/abcdef0123/retrain.csv": TRAINING_CSV,
}


def write_run(folder: Path, changes: dict[str, str | None] | None = None, *, only: bool = False) -> Path:
    """A run folder with FILES; `changes` replaces files or, with None, leaves them out; `only` starts from nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    base: dict[str, str | None] = {"recipe.toml": FILES["recipe.toml"]} if only else dict(FILES)
    for name, content in (base | (changes or {})).items():
        if content is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content, encoding="utf-8")
    return folder


def report(folder: Path, changes: dict[str, str | None] | None = None, *, only: bool = False) -> Node:
    return parse(write_report(write_run(folder, changes, only=only)).read_text(encoding="utf-8"))


def section(page: Node, name: str) -> Node:
    found = page.by_id(name)
    assert found is not None, f"no section {name}"
    return found


def rows(node: Node, class_: str = "") -> list[list[str]]:
    """The texts of the body cells of the first table."""
    body = node.find("table", class_)[0].find("tbody")[0]
    return [[cell.text() for cell in row.find() if cell.tag in ("td", "th")] for row in body.find("tr")]


def test_page_is_whole_and_needs_no_network(tmp_path: Path) -> None:
    path = write_report(write_run(tmp_path / "run"))
    assert path == tmp_path / "run" / "report.html"
    text = path.read_text(encoding="utf-8")
    page = parse(text)
    assert text.startswith("<!DOCTYPE html>")
    assert not re.search(r"https?:|@import|url\(", text)
    assert not page.find("link")
    assert not page.find("img")
    for node in page.walk():
        for name, value in node.attributes.items():
            assert not value.strip().startswith("//"), (node.tag, name, value)
            if name in ("href", "src", "xlink:href", "action", "data"):
                assert value.startswith("#"), (node.tag, name, value)
            assert not name.startswith("on"), (node.tag, name)


def test_links_ids_and_pictures_are_accessible(tmp_path: Path) -> None:
    page = report(tmp_path)
    ids = [node.attributes["id"] for node in page.walk() if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    for link in page.find("a"):
        assert link.attributes["href"][1:] in ids
    pictures = page.find("svg")
    # accuracy, delivered, two architectures, one retrained, two curves each of supernet and generator, times
    assert len(pictures) == 10
    for picture in pictures:
        assert picture.attributes["role"] == "img"
        for name in picture.attributes["aria-labelledby"].split():
            assert section(picture, name).children, name


def test_same_folder_same_bytes(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_title_falls_back_from_name_to_data_to_folder(tmp_path: Path) -> None:
    assert report(tmp_path / "a").find("h1")[0].text() == "tiny run"
    assert report(tmp_path / "b", {"recipe.toml": '[data]\nsource = "shapes"\n'}).find("h1")[0].text() == "shapes"
    assert report(tmp_path / "c", {"recipe.toml": "seed = 1\ndata = 3\n"}).find("h1")[0].text() == "c"


SECTIONS = ["overview", "accuracy", "delivered", "architectures", "retrained", "training", "times", "recipe"]


def test_sections_stand_in_order(tmp_path: Path) -> None:
    assert [node.attributes["id"] for node in report(tmp_path).find("section")] == SECTIONS


@pytest.mark.parametrize(
    ("missing", "sections_gone", "stage"),
    [
        ("candidates.jsonl", {"delivered", "architectures"}, "search"),
        ("random.jsonl", set(), "random baseline"),
        ("supernet.csv", set(), None),  # stages.json says it has run
        ("generator.csv", set(), "generator training"),
        ("stages.json", {"times"}, None),
        ("provenance.json", set(), None),
    ],
)
def test_missing_file_leaves_out_its_section_and_names_its_stage(
    tmp_path: Path, missing: str, sections_gone: set[str], stage: str | None
) -> None:
    page = report(tmp_path, {missing: None})
    assert [n.attributes["id"] for n in page.find("section")] == [s for s in SECTIONS if s not in sections_gone]
    waiting = [n.text() for n in page.find("li") if n.text().startswith("Not run yet")]
    assert waiting == ([f"Not run yet, so left out below: {stage}."] if stage else [])


def test_recipe_alone_gives_a_report_of_what_is_to_come(tmp_path: Path) -> None:
    page = report(tmp_path, only=True)
    assert [node.attributes["id"] for node in page.find("section")] == ["overview", "recipe"]
    stages = "supernet training, generator training, search, random baseline, retraining"
    assert [n.text() for n in page.find("li")] == [f"Not run yet, so left out below: {stages}."]
    assert not page.find("svg")


def test_empty_files_are_as_good_as_missing(tmp_path: Path) -> None:
    header = FILES["supernet.csv"].splitlines()[0] + "\n"
    empty = {
        "candidates.jsonl": "",
        "random.jsonl": "\n",
        "supernet.csv": header,
        "generator.csv": "",
        "stages.json": "{}",
    }
    page = report(tmp_path, empty, only=True)
    assert [node.attributes["id"] for node in page.find("section")] == ["overview", "recipe"]


def test_finished_stage_without_record_is_not_called_unrun(tmp_path: Path) -> None:
    stages = json.dumps({"random": {"seconds": 0.1, "finished": "2026-11-22T01:30:00+00:00"}})
    page = report(tmp_path, {"random.jsonl": "", "stages.json": stages})
    assert "Finished, but there is nothing on file to show: random baseline." in [n.text() for n in page.find("li")]


def test_names_are_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\"'><img src=x onerror=y>&amp;"
    answer = candidate(2e6, 1.9e6, 80.0, layers=[[evil, "skip"], ["3x3", evil]])
    answer["budgets"][evil] = 10.0
    answer["costs"][evil] = 5.0
    stage = {"seconds": 100.0, "finished": evil}
    page = report(
        tmp_path,
        {
            "recipe.toml": f"name = {json.dumps(evil)}\n[data]\nsource = {json.dumps(evil)}\n",
            "provenance.json": json.dumps({evil: evil}),
            "stages.json": json.dumps({evil: stage}),
            "candidates.jsonl": lines([answer]),
            "retrain/<b>&/result.json": json.dumps(RESULT),
            "retrain/<i>/retrain.csv": TRAINING_CSV,
        },
    )
    assert len(page.find("script")) == 1
    assert not page.find("img")
    assert not page.find("b")
    assert not page.find("i")
    assert page.find("h1")[0].text() == evil
    assert section(page, "recipe").find("table")[0].text() == f"{evil}{evil}"
    assert ["<b>&", "≤ 3M MACs"][0] in [row[0] for row in rows(section(page, "retrained"))]


def key_figure(page: Node, name: str) -> str:
    return section(page, f"figure-{name}").find("dd")[0].text()


def test_headline(tmp_path: Path) -> None:
    page = report(tmp_path)
    assert key_figure(page, "budgets") == "2"
    assert key_figure(page, "violations") == "0 of 3"
    # 5 % and 1 % unused; 83 - 80 and 82.5 - 82 over the mean; 83 - 82 and 82.5 - 83 over the best
    assert key_figure(page, "slack") == "3.00 %"
    assert key_figure(page, "gain-mean") == "+1.75 points"
    assert key_figure(page, "gain-best") == "+0.25 points"
    lead = " ".join(node.text() for node in page.find("p", "lead"))
    assert "Asked for 2 budgets on MACs (multiply-adds): every answer is within its limit, with 3.00 % left" in lead
    assert "1.75 points above the mean and 0.25 points above the best of the random ones" in lead


def test_headline_says_when_random_is_better(tmp_path: Path) -> None:
    page = report(tmp_path, {"candidates.jsonl": lines([candidate(2e6, 2e6, 79.0)])})
    assert key_figure(page, "gain-mean") == "−1.00 points"
    assert "1.00 points below the mean and 3.00 points below the best" in page.find("p", "lead")[1].text()


def test_headline_without_baseline_claims_no_gain(tmp_path: Path) -> None:
    page = report(tmp_path, {"random.jsonl": None})
    assert page.by_id("figure-gain-mean") is None
    assert len(page.find("p", "lead")) == 1
    assert "whisker" not in section(page, "accuracy").text()


def test_violations_are_computed_and_count_superseded_answers(tmp_path: Path) -> None:
    answers = [
        candidate(2e6, 2e6 + 1, 80.0, choice=1),  # over by one multiply-add, and asked again below
        candidate(2e6, 2e6, 80.0, choice=2),  # exactly at the limit is within
        candidate(3e6, 3.3e6, 82.0, choice=3),
        candidate(4e6, 3.9e6, 83.0, choice=4),
    ]
    page = report(tmp_path, {"candidates.jsonl": lines(answers)})
    assert key_figure(page, "violations") == "2 of 4"
    assert "2 of 4 answers exceed the limit" in page.find("p", "lead")[0].text()
    delivered = section(page, "delivered")
    crosses = [node.tooltip() for node in delivered.find("g") if node.find("line", "over")]
    assert len(crosses) == 2
    assert [text for text in crosses if "3.3M" in text] == ["limit 3M MACs, used 3.3M MACs: 10 % over"]
    assert len(delivered.find("circle", "generated")) == 2
    accuracy = section(page, "accuracy")
    assert [n.text() for n in accuracy.find("span", "bad")] == ["over by 10"]
    assert len(accuracy.find("circle", "generated")) == 2
    assert len([node for node in accuracy.find("g") if node.find("line", "over")]) == 1


def test_random_over_budget_is_noticed(tmp_path: Path) -> None:
    page = report(tmp_path, {"random.jsonl": lines([drawn(2e6, 2.1e6, 85.0), drawn(2e6, 1.9e6, 80.0)])})
    assert any("not on equal terms: 1 random architecture over" in node.text() for node in page.find("li"))


def test_table_numbers_and_last_answer_counts(tmp_path: Path) -> None:
    table = rows(section(report(tmp_path), "accuracy"), "comparison")
    assert table == [
        # budget, used, slack, generated, best, mean, worst, count, params, conv_macs, log-probability, seconds
        ["≤ 2M", "1.900M", "5.00", "83.00", "82.00", "80.00", "78.00", "3", "12.35k", "1.899M", "−12.50", "1.25"],
        ["≤ 3M", "2.970M", "1.00", "82.50", "83.00", "82.00", "81.00", "2", "12.35k", "2.969M", "−12.50", "1.25"],
    ]


def test_null_log_probability_and_budget_without_answer_or_baseline(tmp_path: Path) -> None:
    answer = candidate(2e6, 1.9e6, 83.0) | {"log_probability": None}
    del answer["costs"]["conv_macs"]
    page = report(tmp_path, {"candidates.jsonl": lines([answer]), "random.jsonl": lines([drawn(5e6, 4e6, 90.0)])})
    assert rows(section(page, "accuracy"), "comparison") == [
        ["≤ 2M", "1.900M", "5.00", "83.00", "–", "–", "–", "0", "12.35k", "–", "1.25"],
        ["≤ 5M", "–", "–", "–", "90.00", "90.00", "90.00", "1", "–", "–", "–"],
    ]


def polyline(node: Node, class_: str) -> list[tuple[float, float]]:
    points = node.find("polyline", class_)[0].attributes["points"].split()
    return [(float(x), float(y)) for x, y in (point.split(",") for point in points)]


def test_accuracy_picture_places_everything_by_cost_and_top1(tmp_path: Path) -> None:
    picture = section(report(tmp_path), "accuracy").find("svg")[0]
    dots, generated = picture.find("circle", "random-dot"), picture.find("circle", "generated")
    assert (len(dots), len(generated)) == (5, 2)
    # Two points fix each axis; every other mark must lie where these say. (x: 1.9M and 2.97M; y: 83 and 82.5)
    left, right = generated
    assert "83.00 %" in left.tooltip()
    per_mac = (right.number("cx") - left.number("cx")) / (2.97e6 - 1.9e6)
    per_point = (right.number("cy") - left.number("cy")) / (82.5 - 83.0)
    expected = [(1.8e6, 78.0), (1.8e6, 82.0), (1.8e6, 80.0), (2.9e6, 81.0), (2.9e6, 83.0)]
    for dot, (macs, top1) in zip(dots, expected, strict=True):
        assert dot.number("cx") == pytest.approx(left.number("cx") + per_mac * (macs - 1.9e6), abs=0.1)
        assert dot.number("cy") == pytest.approx(left.number("cy") + per_point * (top1 - 83.0), abs=0.1)
    assert polyline(picture, "generated-line") == [(n.number("cx"), n.number("cy")) for n in generated]
    means = [left.number("cy") + per_point * (mean - 83.0) for mean in (80.0, 82.0)]
    assert [y for _, y in polyline(picture, "random-line")] == pytest.approx(means, abs=0.1)
    assert per_mac > 0
    assert per_point < 0
    texts = [node.text() for node in picture.find("text")]
    assert {"generated", "random mean", "≤ 2M: 83.0 %", "≤ 3M: 82.5 %", "used MACs (multiply-adds)"} <= set(texts)


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def text_box(node: Node) -> tuple[float, float, float, float]:
    width = 6.5 * len(node.text())
    x, y = node.number("x"), node.number("y")
    left = x - {"start": 0.0, "middle": width / 2, "end": width}[node.attributes["text-anchor"]]
    return left, y - 10, left + width, y + 2


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(scores=st.lists(st.floats(70, 90), min_size=1, max_size=14), crowding=st.sampled_from([1e3, 1e5, 1e6]))
def test_labels_never_overlap(tmp_path: Path, scores: list[float], crowding: float) -> None:
    answers = [candidate(2e6 + i * crowding, 2e6 + (i - 0.1) * crowding, top1) for i, top1 in enumerate(scores)]
    page = report(tmp_path, {"candidates.jsonl": lines(answers)})
    for name in ("accuracy", "delivered"):
        boxes = [text_box(node) for node in section(page, name).find("svg")[0].find("text") if node.text()]
        labels = [text_box(node) for node in section(page, name).find("svg")[0].find("text", "point-label")]
        for label in labels:
            assert sum(overlap(label, box) for box in boxes) == 1, "a label overlaps a text other than itself"


def test_delivered_points_lie_on_or_below_the_diagonal(tmp_path: Path) -> None:
    answers = [candidate(i * 1e6, i * 1e6 * share, 80.0) for i, share in enumerate((1.0, 0.98, 0.7, 1.0), start=1)]
    picture = section(report(tmp_path, {"candidates.jsonl": lines(answers)}), "delivered").find("svg")[0]
    [diagonal] = picture.find("line", "diagonal")
    x1, y1, x2, y2 = (diagonal.number(name) for name in ("x1", "y1", "x2", "y2"))
    points = picture.find("circle", "generated")
    assert len(points) == 4
    above = [(y1 + (p.number("cx") - x1) / (x2 - x1) * (y2 - y1)) - p.number("cy") for p in points]
    assert above[0] == pytest.approx(0, abs=0.05)
    assert above[3] == pytest.approx(0, abs=0.05)
    assert above[1] < -0.5
    assert above[2] < above[1]


def test_budget_sets_on_other_costs_get_pictures_of_their_own(tmp_path: Path) -> None:
    both = candidate(2e6, 1.9e6, 81.0) | {"budgets": {"macs": 2e6, "params": 12353.0}}
    swapped = candidate(3e6, 2.9e6, 82.0) | {"budgets": {"params": 20000.0, "macs": 3e6}}
    slow = candidate(2e6, 1.9e6, 84.0) | {"budgets": {"latency_ms": 12.0}}
    slow["costs"]["latency_ms"] = 11.4
    page = report(tmp_path, {"candidates.jsonl": lines([both, swapped, slow]), "random.jsonl": None})
    accuracy = section(page, "accuracy")
    assert [h.text() for h in accuracy.find("h3")] == [
        "Budgets on MACs (multiply-adds) and parameters",
        "Budgets on latency (ms)",
    ]
    assert [len(figure_.find("circle", "generated")) for figure_ in accuracy.find("figure")] == [2, 1]
    first = rows(accuracy, "comparison")[0]
    assert first[:3] == ["≤ 2M MACs≤ 12.35k parameters", "1.900M12.35k", "5.000.01"]
    # macs from two answers, params from the same two, latency from one
    delivered = section(page, "delivered").find("svg")
    assert [len(picture.find("circle", "generated")) for picture in delivered] == [2, 2, 1]
    # The tightest limit counts: 0.0081 %, 3.33 % and 5 %.
    assert key_figure(page, "slack") == f"{((1 / 12353 + 0.1 / 3 + 0.05) / 3 * 100):.2f} %"


def drawings(page: Node) -> list[Node]:
    return [figure_.find("svg")[0] for figure_ in section(page, "architectures").find("figure")]


def test_architecture_cells(tmp_path: Path) -> None:
    layers = [["3x3", "3x3", "7x7", "skip"], ["5x5", "7x7", "7x7", "7x7"], ["3x3", "5x5", "skip", "skip"]]
    answers = [candidate(2e6, 1.9e6, 80.0, layers=layers), candidate(3e6, 2.9e6, 81.0, layers=layers[::-1])]
    page = report(tmp_path, {"candidates.jsonl": lines(answers)})
    first, second = drawings(page)
    assert [len(layer.find("g", "cell")) for layer in first.find("g", "layer")] == [3, 4, 2]
    assert [len(layer.find("g", "skipped")) for layer in first.find("g", "layer")] == [1, 0, 2]
    assert [len(layer.find("g", "cell")) for layer in second.find("g", "layer")] == [2, 4, 3]
    marks = [[cell.find("text")[0].text() for cell in layer.find("g", "cell")] for layer in first.find("g", "layer")]
    assert marks == [["3", "3", "7"], ["5", "7", "7", "7"], ["3", "5"]]
    # One colour per kernel size, the same in every drawing and in the legend.
    colours = {
        (c.find("text")[0].text(), c.classes[1]) for drawing in (first, second) for c in drawing.find("g", "cell")
    }
    assert len(colours) == 3
    assert len({colour for _, colour in colours}) == 3
    key = [(n.text(), n.classes[1]) for n in section(page, "architectures").find("span", "swatch") if n.text()]
    assert set(key) == colours
    # Stacked from the bottom: the first sub-block is the lowest, and columns go from left to right.
    heights = [rect.number("y") for rect in first.find("g", "layer")[1].find("rect")]
    assert heights == sorted(heights, reverse=True)
    columns = [layer.find("rect")[0].number("x") for layer in first.find("g", "layer")]
    assert columns == sorted(columns)
    assert "≤ 2M MACs · top-1 80.00 %" in section(page, "architectures").find("figcaption")[0].text()
    table = rows(section(page, "architectures"))
    assert table[0] == ["1", "3×3, 3×3, 7×7", "3×3, 5×5"]


def test_architectures_of_single_slot_space_with_long_names_and_many_layers(tmp_path: Path) -> None:
    names = ["mbconv_3x3_e3", "mbconv_5x5_e6", "id", "skip", "A", "shuffle_xception", "3x3"]
    layers = [[names[i % len(names)]] for i in range(25)]
    page = report(tmp_path, {"candidates.jsonl": lines([candidate(2e6, 1.9e6, 80.0, layers=layers)])})
    [drawing] = drawings(page)
    columns = drawing.find("g", "layer")
    assert len(columns) == 25
    assert sum(len(column.find("g", "cell")) for column in columns) == 21
    assert sum(len(column.find("g", "skipped")) for column in columns) == 4
    # Short names stand for themselves; long ones get a letter that no other operation has.
    key = section(page, "architectures").find("ul", "key")[0]
    legend = dict(item.text().split(" ", 1)[::-1] for item in key.find("li") if " " in item.text())
    assert legend == {
        "3×3": "3",
        "A": "A",
        "id": "id",
        "mbconv_3x3_e3": "B",
        "mbconv_5x5_e6": "C",
        "shuffle_xception": "D",
    }
    assert [column.find("text")[0].text() for column in columns[:3]] == ["B", "C", "id"]
    assert max(rect.number("x") + rect.number("width") for rect in drawing.find("rect")) <= drawing.number("width")


@settings(max_examples=30)
@given(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=40, unique=True))
def test_every_operation_gets_a_mark_of_its_own(names: list[str]) -> None:
    legend = blocks.legend([(tuple(names),)])
    assert set(legend) == set(names) - {"skip"}
    assert len({operation.mark for operation in legend.values()}) == len(legend)
    assert all(len(operation.mark) <= 3 and 0 <= operation.colour < blocks.COLOURS for operation in legend.values())


def test_kernels_keep_their_colours_when_not_all_are_used() -> None:
    every, some = blocks.legend([(("3x3", "5x5", "7x7"),)]), blocks.legend([(("9x9", "7x7"),)])
    assert every["7x7"].colour == some["7x7"].colour != some["9x9"].colour


def test_retrained(tmp_path: Path) -> None:
    inherited = RESULT | {"architecture": {"space": "unified", "choices": [0, 5]}, "inherited": True, "epochs": 0}
    del inherited["validation_top1_percent"]
    page = report(
        tmp_path,
        {"retrain/zz/result.json": json.dumps(inherited), "retrain/unfinished/retrain.csv": TRAINING_CSV},
    )
    found = section(page, "retrained")
    assert rows(found) == [
        ["abcdef0123", "≤ 3M MACs", "from scratch", "88.25", "88.75", "82.50", "2.990M", "12.35k", "3", "1 min 35 s"],
        ["zz", "–", "inherited from the supernet", "88.25", "–", "–", "2.990M", "12.35k", "0", "1 min 35 s"],
    ]
    [picture] = found.find("svg")
    assert len(polyline(picture, "curve")) == 3
    assert len(picture.find("line", "reference")) == 1
    assert any("no result yet: unfinished." in node.text() for node in page.find("li"))


def test_training_curves(tmp_path: Path) -> None:
    training = section(report(tmp_path), "training")
    titles = [picture.find("text", "axis-title")[0].text() for picture in training.find("svg")]
    assert titles == [
        "Loss (nats)",
        "Training top-1 (%)",
        "Cross-entropy (nats)",
        "Budget gap (% of the reachable interval)",
    ]
    loss = polyline(training.find("svg")[0], "curve")
    # 2.0, 1.0, 0.5 over epochs 1, 2, 3: equal steps across, the second fall half the first
    (x1, y1), (x2, y2), (x3, y3) = loss
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.05)
    assert (y3 - y2) * 2 == pytest.approx(y2 - y1, abs=0.05)
    assert y2 > y1  # SVG counts downwards
    assert rows(training)[2] == ["3", "0.5", "75", "0.01", "3"]
    assert training.find("svg")[0].find("text", "end-label")[0].text() == "0.5"


def test_curve_leaves_a_gap_where_a_value_is_not_a_number(tmp_path: Path) -> None:
    values = ["2.0", "1.5", "nan", "inf", "1.0", "0.9", "1e300"]
    table = "epoch,loss,train_top1_percent,learning_rate,seconds\n" + "".join(
        f"{epoch},{value},50,0.1,1\n" for epoch, value in enumerate(values, start=1)
    )
    loss = section(report(tmp_path, {"supernet.csv": table}), "training").find("svg")[0]
    assert [len(node.attributes["points"].split()) for node in loss.find("polyline", "curve")] == [2, 2]
    assert "nan" not in "".join(node.attributes["points"] for node in loss.find("polyline"))


def test_times(tmp_path: Path) -> None:
    times = section(report(tmp_path), "times")
    # In the order the stages run, whatever the order in the file; finishing times in UTC.
    assert rows(times) == [
        ["supernet training", "3 min 0 s", "75.0", "2026-11-22 01:00 UTC"],
        ["retraining", "1 min 0 s", "25.0", "2026-11-22 01:30 UTC"],
    ]
    assert "4 min 0 s" in times.find("tfoot")[0].text()
    widths = [rect.number("width") for rect in times.find("rect")]
    assert widths[0] == pytest.approx(3 * widths[1], rel=0.02)


def test_recipe_and_provenance(tmp_path: Path) -> None:
    found = section(report(tmp_path), "recipe")
    [recipe] = found.find("details")[0].find("code")
    assert recipe.children == [FILES["recipe.toml"]]
    assert rows(found, "provenance") == [["seed", "7"], ["git commit", "abc123"], ["gpu", "null"]]


ANSWER = candidate(2e6, 1.9e6, 80.0)


def without(data: dict[str, Any], key: str) -> str:
    return json.dumps({name: value for name, value in data.items() if name != key})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("recipe.toml", "a = \n", r"recipe\.toml: not TOML: .*line 1"),
        ("provenance.json", '{\n"a": 1,\n}', r"provenance\.json, line 3: not JSON"),
        ("provenance.json", "[1]", r"provenance\.json: expected a JSON object"),
        ("provenance.json", "[" * 100_000, r"provenance\.json: not JSON"),
        ("stages.json", '{"supernet": {"seconds": 3}}', r'stages\.json: "supernet": lacks "finished"; found seconds'),
        ("stages.json", '{"supernet": 3}', r'stages\.json: "supernet" must be an object, found 3'),
        ("stages.json", '{"random": {"seconds": -3, "finished": ""}}', r'"seconds" must not be negative, found -3'),
        ("supernet.csv", "epoch,loss\n1,2\n", r'supernet\.csv, line 1: lacks the column "train_top1_percent"'),
        ("supernet.csv", TRAINING_CSV + "4,0.5\n", r"supernet\.csv, line 5: has 2 values for 5 columns"),
        ("supernet.csv", TRAINING_CSV + "4,x,1,1,1\n", r'supernet\.csv, line 5: "loss" must be a number, found \'x\''),
        ("generator.csv", 'epoch\n"', r"generator\.csv, line 2: not CSV"),
        ("candidates.jsonl", f"{json.dumps(ANSWER)}\n{{", r"candidates\.jsonl, line 2: not JSON"),
        ("candidates.jsonl", f"\n\n{without(ANSWER, 'costs')}", r'candidates\.jsonl, line 3: lacks "costs"'),
        ("candidates.jsonl", without(ANSWER, "layers"), r'candidates\.jsonl, line 1: lacks "layers"'),
        ("candidates.jsonl", json.dumps(ANSWER | {"budgets": {}}), r'line 1: "budgets" must hold at least one'),
        (
            "candidates.jsonl",
            json.dumps(ANSWER | {"budgets": {"macs": 0}}),
            r'the budget "macs" must be above 0, found 0',
        ),
        ("candidates.jsonl", json.dumps(ANSWER | {"budgets": {"ms": 1}}), r'line 1: "costs": lacks "ms"'),
        ("candidates.jsonl", json.dumps(ANSWER | {"seconds": True}), r'line 1: "seconds" must be a number, found True'),
        ("candidates.jsonl", json.dumps(ANSWER | {"seconds": math.nan}), r'"seconds" must be a finite number.*nan'),
        ("candidates.jsonl", json.dumps(ANSWER | {"seconds": 10**400}), r'"seconds" must be a finite number'),
        ("candidates.jsonl", json.dumps(ANSWER | {"layers": [["3x3"], "5"]}), r'"layers"'),
        (
            "candidates.jsonl",
            json.dumps(ANSWER | {"architecture": {"space": "u"}}),
            r'line 1: "architecture": expected',
        ),
        (
            "random.jsonl",
            without(drawn(1, 1, 1), "supernet_top1_percent"),
            r'random\.jsonl, line 1: lacks "supernet_top1',
        ),
        ("random.jsonl", "null", r"random\.jsonl, line 1: expected a JSON object, found None"),
        ("retrain/a/result.json", without(RESULT, "epochs"), r'a/result\.json: lacks "epochs"'),
        ("retrain/a/result.json", json.dumps(RESULT | {"inherited": 1}), r'"inherited" must be true or false, found 1'),
        ("retrain/abcdef0123/retrain.csv", "epoch\nx\n", r'retrain\.csv, line 2: "epoch" must be a number'),
    ],
)
def test_damaged_file_is_named_with_its_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    run = write_run(tmp_path, {name: content})
    with pytest.raises(RunError, match=message) as caught:
        write_report(run)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(tmp_path)) + 500
    assert not (run / "report.html").exists()


def test_file_that_is_no_text(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    (run / "random.jsonl").write_bytes(b'{"budgets":\n"\xff"}')
    with pytest.raises(RunError, match=r"random\.jsonl, line 2: not UTF-8"):
        write_report(run)


def test_folder_in_place_of_a_file(tmp_path: Path) -> None:
    run = write_run(tmp_path, {"random.jsonl": None, "random.jsonl/x": ""})
    with pytest.raises(RunError, match=r"random\.jsonl: cannot be read: Is a directory"):
        write_report(run)


def test_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"nowhere: not a run folder"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"not a run folder \(no recipe\.toml\)"):
        write_report(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file: not a run folder"):
        write_report(tmp_path / "file")


def test_failed_write_keeps_the_old_report_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path)
    before = write_report(run).read_bytes()
    files = sorted(run.rglob("*"))
    (run / "candidates.jsonl").write_text(lines([ANSWER]))

    def refuse(*_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(RunError, match=r"report\.html: cannot write: No space left on device"):
        write_report(run)
    assert (run / "report.html").read_bytes() == before
    assert sorted(run.rglob("*")) == files


def test_report_is_readable_by_others_as_any_new_file(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    assert write_report(run).stat().st_mode == (run / "recipe.toml").stat().st_mode


def test_lone_surrogate_does_not_cost_the_report(tmp_path: Path) -> None:
    page = report(tmp_path, {"provenance.json": '{"host": "a\\ud800b"}'})
    assert rows(section(page, "recipe"), "provenance")[0][0] == "host"


def test_importing_the_report_does_not_import_torch() -> None:
    code = "import sys, anybudget.report; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        ).returncode
        == 0
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_damage_gives_anything_but_a_report_or_a_run_error(tmp_path: Path, data: st.DataObject) -> None:
    shutil.rmtree(tmp_path)
    run = write_run(tmp_path)
    target = run / data.draw(st.sampled_from(sorted(FILES)))
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
