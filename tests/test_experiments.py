"""The experiments of the papers: each runs, what is kept is what the pages show, and the runner keeps and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from test_docs import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import papers
from experiments import experiments
from experiments.base import Experiment, Presented, ResultTable, spread
from experiments.pages import Results, picture_name

ALL = [pytest.param(experiment, id=experiment.name) for experiment in experiments()]
KEPT = Results()


def counted(fails: bool = False) -> tuple[Experiment, list[int]]:
    """An experiment that notes which seeds it was measured with."""
    asked: list[int] = []

    def measure(seed: int, folder: Path, quick: bool) -> dict[str, Any]:
        asked.append(seed)
        assert folder.is_dir()
        assert not quick
        return {"value": 70.0 + seed}

    def present(outcomes: Any) -> Presented:
        table = ResultTable("values", ["which", "value"], [["mean", spread([o["value"] for o in outcomes])]])
        return Presented([table], {"": "<svg/>"})

    missing = "no data; fetch them" if fails else ""
    return Experiment("spos-table-0", "A table", measure, present, missing=lambda: missing), asked


@pytest.mark.parametrize("experiment", ALL)
def test_what_is_kept_is_what_the_page_shows(experiment: Experiment) -> None:
    assert experiment.paper in ("sgnas", "greedynas", "spos")
    assert experiment.description
    kept = KEPT.measured(experiment)
    if not kept:
        assert not (KEPT.folder / f"{experiment.name}.md").exists()
        return
    again = f"write it again: python benchmarks/papers.py {experiment.name} --present"
    assert (KEPT.folder / f"{experiment.name}.md").read_text() == KEPT.page(experiment), again
    shown = experiment.present(KEPT.outcomes(experiment))
    assert shown.tables
    assert all(len(row) == len(table.columns) for table in shown.tables for row in table.rows)
    assert all((KEPT.folder / picture_name(experiment, end)).is_file() for end in shown.pictures)


def test_the_index_lists_what_is_kept() -> None:
    again = "write it again: python benchmarks/papers.py --present"
    assert (KEPT.folder / "README.md").read_text() == KEPT.index(experiments()), again
    known = {experiment.name for experiment in experiments()}
    assert {path.stem for path in KEPT.folder.glob("*.json")} <= known


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ALL)
def test_every_experiment_runs_on_few_images(experiment: Experiment, tmp_path: Path) -> None:
    if missing := experiment.missing():
        pytest.skip(missing)
    outcome = json.loads(json.dumps(experiment.measure(0, tmp_path, True)))
    assert experiment.present([outcome]).tables


def test_a_seed_is_measured_once_and_kept_with_where_it_comes_from(tmp_path: Path) -> None:
    experiment, asked = counted()
    results = Results(tmp_path / "results")
    for seed in (1, 0, 1):
        papers.measure(papers.Unit(experiment, seed), results, tmp_path / "runs", again=False)
    assert asked == [1, 0]
    kept = results.measured(experiment)
    assert list(kept) == [0, 1]
    assert kept[1]["outcome"] == {"value": 71.0}
    assert kept[1]["command"] == "python benchmarks/papers.py spos-table-0 --seed 1"
    assert {"commit", "date", "seconds", "processor_seconds", "versions"} <= kept[1].keys()
    assert "| mean | 70.50 ± 0.50 |" in (tmp_path / "results" / "spos-table-0.md").read_text()
    assert (tmp_path / "results" / "spos-table-0.svg").read_text() == "<svg/>"
    papers.measure(papers.Unit(experiment, 0), results, tmp_path / "runs", again=True)
    assert asked == [1, 0, 0]


def test_the_times_of_attempts_that_were_stopped_count(tmp_path: Path) -> None:
    experiment, asked = counted()
    unit, results, runs = papers.Unit(experiment, 0), Results(tmp_path / "results"), tmp_path / "runs"

    def stopped(*_: object) -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        papers.measure(papers.Unit(replace(experiment, measure=stopped), 0), results, runs, again=False)
    (times,) = runs.glob("*.stopped.json")
    assert json.loads(times.read_text()).keys() == {"seconds", "processor_seconds"}
    times.write_text('{"seconds": 500.0, "processor_seconds": 300.0}')
    papers.measure(unit, results, runs, again=False)
    kept = results.measured(experiment)[0]
    assert kept["seconds"] >= 500
    assert 300 <= kept["processor_seconds"] < 500
    assert asked == [0]
    assert not times.exists()


def test_what_is_missing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment, asked = counted(fails=True)
    unit, results = papers.Unit(experiment, 0), Results(tmp_path / "results")
    with pytest.raises(SystemExit) as stopped:
        papers.measure(unit, results, tmp_path / "runs", again=False)
    assert stopped.value.code == 2
    assert papers.measure_all([unit], results, tmp_path / "runs", 1, [], again=False) == []
    out, err = capsys.readouterr()
    assert "spos-table-0: no data; fetch them" in err
    assert "left out: spos-table-0" in out
    assert not asked


def test_results_of_another_version_are_not_read(tmp_path: Path) -> None:
    experiment, _ = counted()
    (tmp_path / "spos-table-0.json").write_text('{"version": 99, "seeds": {}}')
    with pytest.raises(SystemExit, match="version 99"):
        Results(tmp_path).measured(experiment)


def test_what_is_not_kept_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    results, runs = Results(tmp_path / "results"), tmp_path / "runs"
    (experiment,) = papers.choose(["greedynas-fig-2"])
    options = ["--results", str(results.folder), "--runs", str(runs)]
    assert papers.measure_all([papers.Unit(experiment, 0)], results, runs, 2, options, again=False) == []
    assert len(results.outcomes(experiment)[0]["points"]) == 40
    assert "<svg" in (results.folder / "greedynas-fig-2.svg").read_text()
    kept = (results.folder / "greedynas-fig-2.json").read_bytes()
    assert papers.measure_all([papers.Unit(experiment, 0)], results, runs, 2, options, again=False) == []
    assert (results.folder / "greedynas-fig-2.json").read_bytes() == kept
    papers.present([experiment], results)
    assert "(greedynas-fig-2.md)" in (results.folder / "README.md").read_text()


def test_what_fails_is_said_and_the_rest_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unknown, _ = counted()  # the process that is started does not know it
    unit = papers.Unit(unknown, 0)
    assert papers.measure_all([unit], Results(tmp_path), tmp_path, 1, [], again=False) == [unit]
    assert "failed: spos-table-0 --seed 0" in " ".join(capsys.readouterr().out.split())
    assert "no experiment 'spos-table-0'" in papers.log_of(unit, tmp_path / "logs").read_text()


def test_a_stop_ends_the_processes_that_were_started_even_those_that_ignore_interrupts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As children of a script in the background of a shell do."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*_arguments: object) -> subprocess.Popen[bytes]:
        deaf = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"
        started.append(subprocess.Popen([sys.executable, "-S", "-c", deaf]))
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        return started[0]

    monkeypatch.setattr(papers, "start", start)
    with pytest.raises(SystemExit) as stopped:
        papers.measure_all([papers.Unit(counted()[0], 0)], Results(tmp_path), tmp_path, 1, [], again=False)
    assert stopped.value.code == 130
    assert started[0].poll() == -signal.SIGTERM
    assert "the same command goes on from here" in capsys.readouterr().err


def test_names_may_be_beginnings_and_wrong_ones_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert [experiment.name for experiment in papers.choose(["greedynas-fig-2"])] == ["greedynas-fig-2"]
    assert {e.paper for e in papers.choose(["greedynas"])} == {"greedynas"}
    with pytest.raises(SystemExit) as stopped:
        papers.choose(["gredynas-fig-2"])
    assert stopped.value.code == 2
    assert "did you mean 'greedynas-fig-2'" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [("--jobs", "0"), ("--seed", "-1")])
def test_numbers_that_cannot_be_are_refused(wrong: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["papers.py", "greedynas-fig-2", *wrong])
    with pytest.raises(SystemExit) as stopped:
        papers.main()
    assert stopped.value.code == 2
