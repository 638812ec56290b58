"""Stage `random`: random architectures of about the same cost as each budget of the recipe."""

from __future__ import annotations

import logging

import numpy as np

from anybudget.budgets import BudgetSet
from anybudget.decoding.feasible import FeasibleSampler
from anybudget.decoding.reachability import attainable
from anybudget.runs.answers import MEND_LINE
from anybudget.runs.context import RunContext
from anybudget.search.base import exact_costs
from anybudget.storage.records import Measured, checked, read_records

log = logging.getLogger(__name__)

BASELINE = "random.jsonl"


def draw(run: RunContext) -> None:
    """At every budget of the recipe, score random architectures of about the same cost; writes `random.jsonl`.

    Each uses at least `search.random_window` of what the budgets leave attainable of their first cost. Scores of
    other budgets that are there already are kept.
    """
    section, budget_sets = run.recipe.search, run.recipe.budget_sets()
    count, rng = section.random_baseline, np.random.default_rng(run.recipe.seed)
    asked = [budgets.limits() for budgets in budget_sets]
    there = read_records(run.folder.path / BASELINE, Measured, MEND_LINE)
    rows = [row for row in there if row.budgets not in asked]
    with (
        run.evaluating("random", stage=True) as work,
        run.progress.task("random baseline", count * len(budget_sets)) as task,
    ):
        evaluator = run.new_evaluator(work.journal())
        for budgets in budget_sets if count else ():
            drawn = same_cost(run, budgets).sample(count, rng)
            if not drawn:
                window = section.random_window
                log.warning("random baseline: no network uses %g of %s; lower search.random_window", window, budgets)
            for architecture, metrics in zip(drawn, evaluator.scores(drawn, task), strict=True):
                found = {
                    "budgets": budgets.limits(),
                    "architecture": architecture,
                    "costs": exact_costs(run.costs, architecture),
                }
                rows.append(checked({**found, **metrics.to_dict("supernet")}, Measured, BASELINE))
        run.replace("random")
        run.folder.write_lines(BASELINE, [row.to_json() for row in rows])


def same_cost(run: RunContext, budgets: BudgetSet) -> FeasibleSampler:
    """Draws networks of about the same cost: within the budgets, using `search.random_window` of the first one's cost.

    Raises:
        BudgetError: no network meets the budgets.
    """
    terms = {name: model.terms for name, model in run.costs.items()}
    floor = run.recipe.search.random_window * attainable(terms, next(iter(budgets)).cost, budgets)
    return FeasibleSampler(run.space, run.costs, budgets, floor=floor)
