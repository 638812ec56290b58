"""The report's headline, tables and pictures of budgets: accuracy, slack, violations."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from html_tree import Node
from report_pages import candidate, drawn, key_figure, lines, polyline, report, rows, section


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
    assert {"answers", "random mean", "≤ 2M: 83.0 %", "≤ 3M: 82.5 %", "used MACs (multiply-adds)"} <= set(texts)


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def text_box(node: Node) -> tuple[float, float, float, float]:
    width = 6.5 * len(node.text())
    x, y = node.number("x"), node.number("y")
    left = x - {"start": 0.0, "middle": width / 2, "end": width}[node.attributes["text-anchor"]]
    return left, y - 10, left + width, y + 2


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
