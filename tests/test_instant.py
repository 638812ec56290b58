"""Answers without judging: the most probable within the budgets, at once, and nothing takes them for judged."""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.decoding.candidates import candidates_of, most_probable
from anybudget.decoding.feasible import FeasibleSampler
from anybudget.errors import BudgetError, RunError
from anybudget.recipe import load_recipe, resolved
from anybudget.runs.answers import read_answers
from anybudget.runs.generators import build_generator
from anybudget.runs.instant import open_instantly
from anybudget.runs.run import Run
from anybudget.spaces.files import read_architectures
from anybudget.storage.run_folder import RunFolder
from conftest import RECIPE, call
from mistakes import contents, missing
from small_spaces import COSTS, SPACES, budgets_at

BUDGETS = ["-b", "macs<=45k", "-b", "macs<=50k, params<=1400"]


def distributions(kind: str, seed: int, count: int = 3) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    logits = [[2.0 * rng.normal(size=len(d.choices)) for d in SPACES[kind].decisions] for _ in range(count)]
    return [[row - np.logaddexp.reduce(row) for row in rows] for rows in logits]


@pytest.mark.parametrize("costs", [("macs",), ("macs", "params")], ids=", ".join)
@pytest.mark.parametrize("kind", SPACES)
@settings(max_examples=15)
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


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """The folder of a run that has a generator, and neither images nor a supernet: nothing else was ever there."""
    recipe_file = tmp_path / "tiny.toml"
    recipe_file.write_text(RECIPE.format(source=tmp_path / "nowhere.npz"))
    recipe = load_recipe(recipe_file)
    folder = RunFolder.create(tmp_path / "run", resolved(recipe))
    torch.manual_seed(3)
    folder.save_weights("generator.safetensors", build_generator(recipe, recipe.build_space(), torch.device("cpu")))
    folder.finish("generator", 0.0)
    return folder.path


def test_a_floor_is_used(asked: Path) -> None:
    run = Run.open(asked)
    section = run.recipe.search.model_copy(update={"min_use": 0.97})
    run.recipe = run.recipe.model_copy(update={"search": section})
    (proposal,) = run.propose([BudgetSet.parse("macs<=60k")])
    assert 0.97 * 60e3 <= proposal.costs["macs"] <= 60e3


def test_answers_need_the_generator_alone_and_leave_nothing(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(asked)
    expected = Run.open(asked).propose([BudgetSet.parse(text) for text in BUDGETS[1::2]])
    code, out, err = call(capsys, "generate", asked, "--instant", *BUDGETS, "--json")
    assert (code, err) == (0, "")
    for row, proposal in zip(json.loads(out), expected, strict=True):
        assert row == {**proposal.to_dict(), "seconds": row["seconds"]}
        assert row["judged"] is False
        assert not [key for key in row if "top1" in key or "loss" in key]
        assert min(row["slack"].values()) >= 0
    code, out, _ = call(capsys, "search", asked, "--instant", "--strategy", "generator")
    assert code == 0
    assert "macs<=30k" in out  # the recipe's budgets
    assert not missing("not judged: chosen by their probability", out)
    assert contents(asked) == before


def test_nobody_takes_them_for_judged(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "generate", asked, "--instant", "--json")
    row = {**json.loads(out)[0], "layers": [["k3"]], "answered": "2026-01-01T00:00:00+00:00"}
    (asked / "candidates.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(RunError, match=r"candidates\.jsonl, line 1: .*supernet_top1_percent"):
        read_answers(Run.open(asked).context)
    (asked / "asked.json").write_text(out)
    found = read_architectures(asked / "asked.json", Run.open(asked).space)  # to train one is to find out
    assert [architecture.to_dict() for architecture in found] == [entry["architecture"] for entry in json.loads(out)]


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
    asked: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    command, *options = arguments
    code, out, err = call(capsys, command, asked, "--instant", *options)
    assert (code, out) == (2, "")
    assert not missing(message, err), err


def test_without_a_generator_the_command_that_trains_it_is_named(asked: Path) -> None:
    (asked / "stages.json").unlink()
    with pytest.raises(RunError, match="the generator stage has not finished; run: anybudget generator"):
        open_instantly(asked)


def test_neither_images_nor_what_trains_is_imported(asked: Path) -> None:
    without = ["scipy.stats", "scipy.optimize", "PIL", "lightning", "anybudget.data.protocol", "anybudget.nets"]
    script = (
        "import sys, anybudget.cli\n"
        f"sys.argv = ['anybudget', 'generate', {str(asked)!r}, '--instant', '-b', 'macs<=45k']\n"
        "anybudget.cli.main()\n"
        f"found = sys.modules.keys() & set({without})\nassert not found, found\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
