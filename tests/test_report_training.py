"""The report's sections of training: retrained networks, curves and times."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from report_pages import RESULT, TRAINING_CSV, polyline, report, rows, section


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


def test_waiting_for_images_is_shown_where_it_was_measured(tmp_path: Path) -> None:
    header, *lines = TRAINING_CSV.splitlines()
    waited = "\n".join([f"{header},waiting_seconds", *(f"{line},{0.25 * number}" for number, line in enumerate(lines))])
    training = section(report(tmp_path, {"supernet.csv": waited}), "training")
    assert rows(training)[2] == ["3", "0.5", "75", "0.01", "3", "0.5"]
