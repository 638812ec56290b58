"""Answers without judging: the most probable within the budgets, at once, and nothing takes them for judged."""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.decoding.candidates import candidates_of, most_probable
from anybudget.decoding.feasible import FeasibleSampler
from anybudget.errors import BudgetError, RunError
from anybudget.runs.answers import read_answers
from anybudget.runs.context import RunContext
from anybudget.runs.instant import open_instantly
from anybudget.runs.run import Run
from anybudget.storage.run_folder import RunFolder
from conftest import call
from mistakes import contents, missing
from small_spaces import COSTS, SPACES, budgets_at

BUDGETS = ["-b", "macs<=45k", "-b", "macs<=50k, params<=1400"]


def distributions(kind: str, seed: int, count: int = 3) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    logits = [[2.0 * rng.normal(size=len(d.choices)) for d in SPACES[kind].decisions] for _ in range(count)]
    return [[row - np.logaddexp.reduce(row) for row in rows] for rows in logits]


@pytest.mark.parametrize("costs", [("macs",), ("macs", "params")], ids=", ".join)
@pytest.mark.parametrize("kind", SPACES)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.02, 0.3, 0.7]))
def test_it_is_the_most_probable_of_all_choices_and_priors(
    kind: str, costs: tuple[str, ...], seed: int, share: float
) -> None:
    space, given_rows = SPACES[kind], distributions(kind, seed)
    budgets = budgets_at(kind, share, *costs)
    sampler = FeasibleSampler(space, COSTS[kind], budgets)
    terms = {name: model.terms for name, model in COSTS[kind].items()}
    scores = {
        choices: max(sum(row[c] for row, c in zip(rows, choices, strict=True)) for rows in given_rows)
        for choices in product(*(range(len(d.choices)) for d in space.decisions))
        if all(terms[b.cost].cost(choices) <= b.limit for b in budgets)
    }
    if not scores:
        with pytest.raises(BudgetError, match="no architecture meets"):
            most_probable(given_rows, sampler, seed=0)
        return
    best = max(scores, key=scores.__getitem__)
    found, log_probability = most_probable(given_rows, sampler, seed=0)
    assert log_probability == pytest.approx(scores[best], abs=1e-9)
    assert found == space.simplified(Architecture(space.name, best))


def test_it_is_what_a_search_would_judge_first() -> None:
    given_rows, budgets = distributions("unified", 3, count=8), budgets_at("unified", 0.4, "macs")
    sampler = FeasibleSampler(SPACES["unified"], COSTS["unified"], budgets)
    found, log_probability = most_probable(given_rows, sampler, seed=0)
    judged = candidates_of(given_rows, sampler, candidates=20, seed=0)
    assert judged[found] == log_probability == max(judged.values())


def test_distributions_that_cannot_have_more_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    budgets = budgets_at("unified", 1.0, "macs")
    sampler = FeasibleSampler(SPACES["unified"], COSTS["unified"], budgets)
    decoded = []
    decode = sampler.decoder.decode

    def counted(rows: list[np.ndarray]) -> object:
        decoded.append(rows)
        return decode(rows)

    monkeypatch.setattr(sampler.decoder, "decode", counted)
    most_probable(distributions("unified", 0, count=8), sampler, seed=0)
    assert len(decoded) == 1  # the budget allows everything, so the first has what bounds all others


def test_a_floor_is_used(finished: Path) -> None:
    run = Run.open(finished)
    budgets = BudgetSet.parse("macs<=60k")
    section = run.recipe.search.model_copy(update={"min_use": 0.97})
    run.recipe = run.recipe.model_copy(update={"search": section})
    (proposal,) = run.propose([budgets])
    assert 0.97 * 60e3 <= proposal.costs["macs"] <= 60e3


def test_answers_need_the_generator_alone_and_leave_nothing(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [BudgetSet.parse(text) for text in BUDGETS[1::2]]
    expected = Run.open(finished).propose(asked)
    for name in ("supernet.safetensors", "data.json", "data.listing.gz"):
        (finished / name).unlink()
    before = contents(finished)
    for part in ("data", "supernet", "evaluator", "listing"):
        monkeypatch.setattr(RunContext, part, property(lambda _: pytest.fail("nothing else is loaded")))
    assert [found.architecture for found in Run.open(finished).propose(asked)] == [p.architecture for p in expected]
    code, out, err = call(capsys, "generate", finished, "--instant", *BUDGETS, "--json")
    assert (code, err) == (0, "")
    rows = json.loads(out)
    for row, proposal in zip(rows, expected, strict=True):
        assert row == {**proposal.to_dict(), "seconds": row["seconds"]}
        assert row["judged"] is False
        assert not [key for key in row if "top1" in key or "loss" in key]
        assert min(row["slack"].values()) >= 0
    code, out, _ = call(capsys, "search", finished, "--instant", "--strategy", "generator")
    assert code == 0
    assert "macs<=30k" in out  # the recipe's budgets
    assert not missing("not judged: chosen by their probability", out)
    assert contents(finished) == before


def test_nobody_takes_them_for_judged(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "generate", finished, "--instant", "--json")
    row = {**json.loads(out)[0], "layers": [["k3"]], "answered": "2026-01-01T00:00:00+00:00"}
    with (finished / "candidates.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    with pytest.raises(RunError, match=r"candidates\.jsonl, line 3: .*supernet_top1_percent"):
        read_answers(RunContext(RunFolder.open(finished), Run.open(finished).recipe))
    file_ = finished.parent / "asked.json"
    file_.write_text(out)
    code, _, err = call(capsys, "retrain", finished, file_, "--json")
    assert code == 0, err  # to train one is to find out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "--strategy", "linear"], "--instant: the strategy linear finds its answers by judging"),
        (["search", "--strategy", "linaer"], "unknown strategy 'linaer'; did you mean 'linear'?"),
        (["generate", "--no-race"], "leave out --race or --no-race"),
        (["generate", "--engine", "ray", "--data", "x"], "leave out --engine, --data"),
        (["generate", "-b", "macs<=1"], "budget macs<=1 cannot be met"),
        (["generate", "-b", "macs<=45k, params<=100k, conv_macs<=1k"], "conv_macs<=1k cannot be met"),
        (["generate", "-b", "mcas<=45k"], "unknown cost 'mcas'; did you mean macs?"),
    ],
)
def test_mistakes_end_with_one_message(
    finished: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    command, *options = arguments
    code, out, err = call(capsys, command, finished, "--instant", *options)
    assert (code, out) == (2, "")
    assert not missing(message, err), err


def test_without_a_generator_the_command_that_trains_it_is_named(finished: Path) -> None:
    stages = json.loads((finished / "stages.json").read_text())
    del stages["generator"]
    (finished / "stages.json").write_text(json.dumps(stages))
    with pytest.raises(RunError, match="the generator stage has not finished; run: anybudget generator"):
        open_instantly(finished)


def test_neither_images_nor_what_trains_is_imported(finished: Path) -> None:
    without = ["scipy.stats", "scipy.optimize", "PIL", "lightning", "anybudget.data.protocol", "anybudget.nets"]
    script = (
        "import sys, anybudget.cli\n"
        f"sys.argv = ['anybudget', 'generate', {str(finished)!r}, '--instant']\n"
        "anybudget.cli.main()\n"
        f"found = sys.modules.keys() & set({without})\nassert not found, found\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
