"""Which network of a run is meant: by its budgets, its file or its short id."""

from __future__ import annotations

from pathlib import Path

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.decoding.reachability import parse_budgets
from anybudget.errors import ArchitectureError, RunError, shown
from anybudget.runs.answers import ANSWERS, own, read_answers
from anybudget.runs.context import RunContext
from anybudget.runs.stages.retrain import RETRAIN_AGAIN
from anybudget.runs.trained import NETWORK, ZOO_FOLDER
from anybudget.spaces.files import read_architectures
from anybudget.storage.records import Network, read_record

RETRAINED, RACE = "retrain", "race"
KEPT = (RETRAINED, RACE, ZOO_FOLDER)
"""The folders of a run that have a folder for each network with weights of its own."""


def find_architecture(run: RunContext, text: str) -> Architecture:
    """The architecture that is meant.

    Args:
        run: the run.
        text: budgets, such as `macs<=700k`: the run's last answer to them; a JSON file with one architecture; or the
            short id of a network that the run has retrained, raced or answered with.

    Raises:
        ArchitectureError: there is no such network, or the file holds another number than one, or another space's.
        BudgetError: the budgets cannot be read.
        RunError: the run has not answered these budgets.
    """
    if any(sign in text for sign in "<>=≤≥"):
        return _answer(run, text)
    path = Path(text)
    if path.suffix or path.is_file():
        found = read_architectures(path, run.space)
        if len(found) != 1:
            raise ArchitectureError(
                f"{path}: holds {len(found)} architectures, and one is exported at a time; name one"
            )
        return found[0]
    known = _known(run)
    if text not in known:
        listed = f"the networks of this run are {', '.join(known)}" if known else "this run has no network yet"
        raise ArchitectureError(
            f"{shown(text)}: is no network of this run, no JSON file and no budget such as macs<=700k; {listed}"
        )
    return known[text]


def last_answers(run: RunContext) -> dict[BudgetSet, Architecture]:
    """The last answer to each budget set."""
    return {budgets: answer.architecture for budgets, answer in read_answers(run)}


def _answer(run: RunContext, text: str) -> Architecture:
    """The last answer to some budgets."""
    budgets, answers = parse_budgets(text, run.costs), last_answers(run)
    if budgets not in answers:
        said = f"it has answered {'; '.join(map(str, answers))}" if answers else "it has answered none yet"
        raise RunError(
            f"{run.folder.path / ANSWERS}: has no answer to the budget {budgets}, {said}; ask for it with: "
            f'anybudget generate {run.folder.path} --budget "{budgets}"'
        )
    return answers[budgets]


def _known(run: RunContext) -> dict[str, Architecture]:
    """The networks that the run has answered with, retrained or raced, by their short ids."""
    found = list(last_answers(run).values())
    kept = [path for kind in (RETRAINED, RACE) for path in sorted(run.folder.path.glob(f"{kind}/*/{NETWORK}"))]
    for path in kept:
        network = read_record(path, Network, RETRAIN_AGAIN)
        if network is not None and "." not in path.parent.name:  # not one that was kept when it was trained again
            found.append(own(run, network.architecture, str(path), RETRAIN_AGAIN))
    return {architecture.short_id: architecture for architecture in found}
