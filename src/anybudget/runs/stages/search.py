"""Stage `search`, and all other searches: budgets in, architectures out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anybudget.budgets import BudgetSet
from anybudget.runs.answers import ANSWERS, append_answers, read_answers
from anybudget.runs.context import RunContext
from anybudget.runs.racing import RunRace
from anybudget.runs.searching import StrategyChoice, make_strategy, names_of
from anybudget.runs.work import Work
from anybudget.search import compare as comparison
from anybudget.search.base import Candidate
from anybudget.storage.records import Comparison, checked


def search(run: RunContext) -> list[Candidate]:
    """Answer every budget of the recipe."""
    run.check_budgets(run.recipe.budget_sets())
    with run.evaluating("search", stage=True) as work:
        run.replace("search")
        return _answer(run, work, run.recipe.search.strategy, run.recipe.budget_sets(), None, ANSWERS)


def generate(run: RunContext, budgets: Sequence[BudgetSet], *, race: bool | None = None) -> list[Candidate]:
    """Answer budget sets with the strategy of the recipe and append them to `candidates.jsonl`.

    Args:
        run: the run.
        budgets: what is asked for.
        race: whether the best race in the end; the recipe says when None.
    """
    run.check_budgets(budgets)
    with run.evaluating("generate") as work:
        return _answer(run, work, run.recipe.search.strategy, budgets, race, ANSWERS)


def _race(run: RunContext, work: Work, race: bool | None) -> RunRace | None:
    """The race at the end of some work, if there is to be one; the recipe says when None."""
    return RunRace(run, work) if (run.recipe.search.race.enabled if race is None else race) else None


def _answer(
    run: RunContext,
    work: Work,
    strategy: StrategyChoice,
    budgets: Sequence[BudgetSet],
    race: bool | None,
    file: str,
) -> list[Candidate]:
    """What a strategy, and perhaps a race, finds for budget sets; added to a file of answers."""
    answered = read_answers(run, file)  # first: a damaged file is to be noticed before the work, not after
    made, racing = make_strategy(run, strategy, work), _race(run, work, race)
    candidates = made.search(budgets)
    if racing is not None:
        candidates, _ = racing.answers(made, candidates)
    append_answers(run, candidates, answered, file)
    return candidates


def search_with(
    run: RunContext, strategy: StrategyChoice, budgets: Sequence[BudgetSet], *, race: bool | None = None
) -> list[Candidate]:
    """Answer budget sets with any strategy; adds them to `search/NAME.jsonl`.

    Args:
        run: the run.
        strategy: a registered name, a class, or a strategy that has been made (`make_strategy`).
        budgets: what is asked for.
        race: whether the best race in the end; the recipe says when None.

    Raises:
        ConfigError: there is no such strategy.
        BudgetError: a budget set cannot be met.
    """
    (name,) = names_of([strategy])
    run.check_budgets(budgets)
    with run.evaluating(f"search {name}") as work:
        return _answer(run, work, strategy, budgets, race, f"search/{name}.jsonl")


def compare(
    run: RunContext, strategies: Sequence[StrategyChoice], budgets: Sequence[BudgetSet], *, race: bool | None = None
) -> dict[str, Any]:
    """Answer the same budget sets with several strategies, each with an evaluator of its own.

    Writes `compare.json`; the report draws it.

    Args:
        run: the run.
        strategies: registered names, classes, or strategies that have been made (`make_strategy`).
        budgets: what each is asked for.
        race: whether the best of each race in the end, in the same race for all; the recipe says when None.

    Raises:
        ConfigError: there is no such strategy, or two have one name.
        BudgetError: a budget set cannot be met.
    """
    names = names_of(strategies)
    run.check_budgets(budgets)
    with run.evaluating("compare") as work:
        made = [make_strategy(run, given, work, part=name) for given, name in zip(strategies, names, strict=True)]
        racing = _race(run, work, race)
        found = comparison.compare(made, budgets, racing.answers if racing else None)
        run.folder.write_result("compare.json", checked(found, Comparison, "compare.json").to_json())
    return found
