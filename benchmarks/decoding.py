"""How long exact decoding takes beside an integer program, on random distributions: processor time of one process.

For 19 layers of 80 choices with one and two budgets, with and without a floor; for 20 decisions of 40 choices whose
costs have pairs; and for the 64 candidates of one budget set at 5 layers of 80 choices. The integer program (HiGHS) is
what decoding falls back to; it is built anew for every distribution.

Run: python benchmarks/decoding.py [--trials 50]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from anybudget.budgets import Budget, BudgetSet
from anybudget.costs import CostTerms, build_costs
from anybudget.decoding.candidates import candidates_of
from anybudget.decoding.decoder import Decoder
from anybudget.decoding.feasible import FeasibleSampler
from anybudget.decoding.integer_program import IntegerProgram
from anybudget.decoding.limit import Limit
from anybudget.decoding.reachability import check_reachable, reachable
from anybudget.errors import BudgetError
from anybudget.recipe import load_recipe
from anybudget.spaces import SearchSpace

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
Scores = list[NDArray[np.float64]]
CASES = (
    ("sgnas-imagenet", ("macs",), None),
    ("sgnas-imagenet", ("macs",), 0.98),
    ("sgnas-imagenet", ("macs", "params"), None),
    ("sgnas-imagenet", ("macs", "params"), 0.98),
    ("spos-channels-imagenet", ("macs",), None),
    ("spos-channels-imagenet", ("macs", "params"), None),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=50)
    trials = parser.parse_args().trials
    table = Table("space", "budgets", "floor", "mean ms", "worst ms", "program mean", "program worst", "over", "differ")
    for recipe, names, use in CASES:
        space = load_recipe(RECIPES / f"{recipe}.toml").build_space()
        table.add_row(
            recipe, " and ".join(names), f"{use:.0%}" if use else "none", *compared(space, names, use, trials)
        )
    console = Console(width=140)
    console.print(table)
    space = load_recipe(RECIPES / "fashion.toml").build_space()
    console.print(f"64 candidates of one budget set, {len(space.decisions)} layers: {candidates_seconds(space):.2f} s")


def compared(space: SearchSpace, names: Sequence[str], use: float | None, trials: int) -> list[str]:
    """Times of both ways, how many answers were over a budget, and how many differ in probability."""
    terms = {name: model.terms for name, model in build_costs(space).items()}
    rng = np.random.default_rng(0)
    times, program, over, differ = [], [], 0, 0
    for _ in range(trials):
        scores = drawn(space, rng)
        budgets = BudgetSet(tuple(Budget(name, rng.uniform(*reachable(terms, name))) for name in names))
        floors = {"macs": use * budgets.limits()["macs"]} if use else {}
        started = time.process_time()
        try:
            (found,) = Decoder(terms, budgets, floors).decode(scores)
        except BudgetError:
            continue  # together they are out of reach
        times.append(1e3 * (time.process_time() - started))
        over += not budgets.allows({name: terms[name].cost(found.choices) for name in names})
        started = time.process_time()
        expected = programmed(scores, terms, budgets, floors)
        program.append(1e3 * (time.process_time() - started))
        differ += abs(expected - found.log_probability) > 1e-5
    figures = [np.mean(times), max(times), np.mean(program), max(program)]
    return [*(f"{figure:.1f}" for figure in figures), str(over), str(differ)]


def programmed(
    scores: Scores, terms: Mapping[str, CostTerms], budgets: BudgetSet, floors: Mapping[str, float]
) -> float:
    """The greatest log-probability by one integer program; without the floors where nothing meets them."""
    check_reachable(terms, budgets)
    limits = [Limit(terms[budget.cost], budget.limit) for budget in budgets]
    least = [Limit.floor(terms[cost], floor) for cost, floor in floors.items()]
    choices = IntegerProgram(scores, [*limits, *least], {}).solve() or IntegerProgram(scores, limits, {}).solve()
    assert choices is not None, "the decoder has found one"
    return sum(float(row[choice]) for row, choice in zip(scores, choices, strict=True))


def drawn(space: SearchSpace, rng: np.random.Generator) -> Scores:
    """A random distribution, from nearly flat to nearly certain."""
    sharpness = rng.choice([0.05, 0.3, 1.0, 5.0])
    return [np.log(rng.dirichlet(np.full(len(d.choices), sharpness)) + 1e-30) for d in space.decisions]


def candidates_seconds(space: SearchSpace) -> float:
    """Seconds for 64 candidates from 8 distributions within one budget set."""
    costs = build_costs(space)
    low, high = reachable({"macs": costs["macs"].terms}, "macs")
    rng = np.random.default_rng(0)
    distributions = [drawn(space, rng) for _ in range(8)]
    started = time.process_time()
    sampler = FeasibleSampler(space, costs, BudgetSet((Budget("macs", (low + high) / 2),)))
    found = candidates_of(distributions, sampler, candidates=64, seed=0)
    assert len(found) == 64
    return time.process_time() - started


if __name__ == "__main__":
    main()
