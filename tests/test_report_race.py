"""The report's section on races: a line and a row for every network that raced, the answer first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from anybudget.errors import RunError
from html_tree import Node
from report_pages import candidate, lines, polyline, report, rows, section


def done(loss: float, top1: float) -> dict[str, Any]:
    return {
        "validation_top1_percent": top1,
        "validation_loss": loss,
        "images_trained": 100,
        "macs_trained": 1e6,
        "images_scored": 50,
        "macs_scored": 5e5,
        "seconds": 1.5,
    }


def network(choice: int, place: int, *rounds: dict[str, Any]) -> dict[str, Any]:
    architecture = {"space": "unified", "choices": [choice, choice]}
    return {"architecture": architecture, "supernet_place": place, "rounds": list(rounds)}


def raced(by: str = "loss") -> dict[str, Any]:
    spent = {"evaluations": 0, "images": 750, "macs": 7.5e6, "seconds": 7.5}
    networks = [
        network(1, 3, done(0.9, 60.0), done(0.7, 66.0)),
        network(4, 1, done(0.8, 61.0), done(0.75, 65.0)),
        network(5, 2, done(1.0, 50.0)),
    ]
    return {**candidate(2e6, 1.9e6, 83.0, choice=1), "race": {"by": by, "spent": spent, "networks": networks}}


def page(folder: Path, answer: dict[str, Any]) -> Node:
    return report(folder, {"candidates.jsonl": lines([candidate(3e6, 2.9e6, 82.0, choice=2), answer])})


def test_every_network_has_a_line_and_a_row(tmp_path: Path) -> None:
    races = section(page(tmp_path, raced()), "races")
    assert len(races.find("polyline", "rival")) == 2
    (first, last) = polyline(races, "curve")
    assert first[0] < last[0]
    assert first[1] < last[1]  # a loss that falls, on an axis that goes up
    table = rows(races)
    assert [row[0] for row in table] == ["1", "2", "3"]
    assert [row[2] for row in table] == ["3", "1", "2"]
    assert [row[3:5] for row in table] == [["0.9000", "0.7000"], ["0.8000", "0.7500"], ["1.0000", "–"]]
    assert [row[5] for row in table] == ["66.00", "65.00", "50.00"]
    assert "3 networks, the answer was number 3 of the supernet" in races.text()
    assert len(races.find("svg")) == 1  # of the budget that was raced for


def test_by_the_metric_top1_is_drawn(tmp_path: Path) -> None:
    races = section(page(tmp_path, raced("metric")), "races")
    assert "Validation top-1 (%)" in races.text()
    first, last = polyline(races, "curve")
    assert first[1] > last[1]


def test_without_a_race_there_is_no_section(tmp_path: Path) -> None:
    assert report(tmp_path).by_id("races") is None


def test_a_race_that_somebody_else_has_won_is_refused(tmp_path: Path) -> None:
    answer = raced()
    answer["race"]["networks"].reverse()
    with pytest.raises(RunError, match="item 1 must be the architecture of the answer"):
        page(tmp_path, answer)
    answer["race"]["networks"] = []
    with pytest.raises(RunError, match=r"candidates.jsonl, line 2.*networks"):
        page(tmp_path, json.loads(json.dumps(answer)))
