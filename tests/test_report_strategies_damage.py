"""A report of a damaged compare.json, or of one whose values cannot be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anybudget.errors import RunError
from anybudget.report import write_report
from report_comparisons import BUDGETS, TRAINING, TWO, answer, compared, section_of, strategy
from report_pages import check_damaged, write_run


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


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_gives_anything_but_a_report_or_a_run_error(tmp_path: Path, data: st.DataObject) -> None:
    shutil.rmtree(tmp_path)
    run = write_run(tmp_path, {"compare.json": json.dumps(compared(TWO))}, only=True)
    check_damaged(run, run / "compare.json", data)
