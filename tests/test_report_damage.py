"""A report of damaged files, and one that cannot be written."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anybudget.errors import RunError
from anybudget.report import write_report
from report_pages import (
    FILES,
    RESULT,
    TRAINING_CSV,
    candidate,
    check_damaged,
    drawn,
    lines,
    report,
    rows,
    section,
    write_run,
)

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


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_gives_anything_but_a_report_or_a_run_error(tmp_path: Path, data: st.DataObject) -> None:
    shutil.rmtree(tmp_path)
    run = write_run(tmp_path)
    check_damaged(run, run / data.draw(st.sampled_from(sorted(FILES))), data)
