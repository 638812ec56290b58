"""How long exact decoding takes for 19 layers of 80 choices, with one and two budgets, from random distributions.

Run: python benchmarks/decoding.py
"""

from __future__ import annotations

import time

import numpy as np
from rich.console import Console
from rich.table import Table

from anybudget.budgets import Budget, BudgetSet
from anybudget.costs import build_costs
from anybudget.decoding.decoder import decode
from anybudget.decoding.reachability import reachable
from anybudget.errors import BudgetError
from anybudget.recipe import load_recipe

TRIALS = 200


def main() -> None:
    from demo import ROOT

    space = load_recipe(ROOT / "recipes" / "sgnas-imagenet.toml").build_space()
    terms = {name: model.terms for name, model in build_costs(space).items()}
    rng = np.random.default_rng(0)
    table = Table("budgets", "floor", "mean ms", "worst ms", "violations", "unreachable together")
    for names in (("macs",), ("macs", "params")):
        for use in (None, 0.98):
            times, violations, unreachable = [], 0, 0
            for _ in range(TRIALS):
                sharpness = rng.choice([0.05, 0.3, 1.0, 5.0])
                scores = [np.log(rng.dirichlet(np.full(80, sharpness)) + 1e-30) for _ in space.decisions]
                limits = []
                for name in names:
                    low, high = reachable(terms, name)
                    limits.append(Budget(name, low + rng.random() * (high - low)))
                budgets = BudgetSet(tuple(limits))
                floors = {"macs": use * limits[0].limit} if use else None
                started = time.perf_counter()
                try:
                    (found,) = decode(scores, terms, budgets, floors=floors)
                except BudgetError:
                    unreachable += 1
                    continue
                times.append(1e3 * (time.perf_counter() - started))
                violations += not budgets.allows({name: terms[name].cost(found.choices) for name in names})
            table.add_row(
                " and ".join(names),
                f"{use:.0%}" if use else "none",
                f"{np.mean(times):.1f}",
                f"{max(times):.1f}",
                str(violations),
                str(unreachable),
            )
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
