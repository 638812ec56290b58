"""Stage `search`, and all other searches: budgets in, architectures out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anybudget.budgets import BudgetSet
from anybudget.runs.answers import append_answers, read_answers
from anybudget.runs.context import RunContext
from anybudget.runs.searching import StrategyChoice, make_strategy, names_of
from anybudget.runs.work import Work
from anybudget.search import compare as comparison
from anybudget.search.base import Candidate
from anybudget.storage.records import Comparison, checked


def search(run: RunContext) -> list[Candidate]:
    """Generate for every budget of the recipe."""
    run.check_budgets(run.recipe.budget_sets())
    with run.evaluating("search", stage=True) as work:
        run.replace("search")
        return _generate(run, work, run.recipe.budget_sets())


def generate(run: RunContext, budgets: Sequence[BudgetSet]) -> list[Candidate]:
    """Answer budget sets with the trained generator and append them to `candidates.jsonl`."""
    run.check_budgets(budgets)
    with run.evaluating("generate") as work:
        return _generate(run, work, budgets)


def _generate(run: RunContext, work: Work, budgets: Sequence[BudgetSet]) -> list[Candidate]:
    answered = read_answers(run)  # first: a damaged file is to be noticed before the work, not after
    strategy = make_strategy(run, "generator", work)
    candidates: list[Candidate] = []
    with run.progress.task("generate", len(budgets)) as task:
        for budget_set in budgets:
            candidates += strategy.search([budget_set])
            task.advance(1, str(candidates[-1].metrics))
    append_answers(run, candidates, answered)
    return candidates


def search_with(run: RunContext, strategy: StrategyChoice, budgets: Sequence[BudgetSet]) -> list[Candidate]:
    """Answer budget sets with any strategy; adds them to `search/NAME.jsonl`.

    Args:
        run: the run.
        strategy: a registered name, a class, or a strategy that has been made (`make_strategy`).
        budgets: what is asked for.

    Raises:
        ConfigError: there is no such strategy.
        BudgetError: a budget set cannot be met.
    """
    (name,) = names_of([strategy])
    run.check_budgets(budgets)
    with run.evaluating(f"search {name}") as work:
        path = f"search/{name}.jsonl"
        answered = read_answers(run, path)  # first: see `_generate`
        candidates = make_strategy(run, strategy, work).search(budgets)
        append_answers(run, candidates, answered, path)
    return candidates


def compare(run: RunContext, strategies: Sequence[StrategyChoice], budgets: Sequence[BudgetSet]) -> dict[str, Any]:
    """Answer the same budget sets with several strategies, each with an evaluator of its own.

    Writes `compare.json`; the report draws it.

    Args:
        run: the run.
        strategies: registered names, classes, or strategies that have been made (`make_strategy`).
        budgets: what each is asked for.

    Raises:
        ConfigError: there is no such strategy, or two have one name.
        BudgetError: a budget set cannot be met.
    """
    names = names_of(strategies)
    run.check_budgets(budgets)
    with run.evaluating("compare") as work:
        made = [make_strategy(run, given, work, part=name) for given, name in zip(strategies, names, strict=True)]
        found = comparison.compare(made, budgets)
        run.folder.write_result("compare.json", checked(found, Comparison, "compare.json").to_json())
    return found
