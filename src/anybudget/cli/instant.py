"""`--instant`: what the generator alone says of budgets; nothing is judged, and nothing is written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anybudget.cli.streams import out
from anybudget.errors import ConfigError

ANSWERS = "generator"
"""The one strategy that has an answer before it has judged a network."""


def judging(
    race: bool | None, engine: str, address: str | None, workers: int | None, data: Path | None
) -> dict[str, Any]:
    """What was given of how networks are judged and trained, by the names of the options; None for what was not."""
    return {
        "--race or --no-race": race,
        "--engine": None if engine == "local" else engine,
        "--address": address,
        "--workers": workers,
        "--data": data,
    }


def answer_instantly(
    target: Path,
    budgets: Sequence[str] | None,
    *,
    as_json: bool,
    strategy: str = ANSWERS,
    otherwise: Mapping[str, Any],
) -> None:
    """Print an architecture for each budget set, or the JSON of them.

    Args:
        target: the folder of a run.
        budgets: as they were given; the recipe's if none were.
        as_json: whether JSON is printed.
        strategy: that was asked for.
        otherwise: options that say how networks are judged or trained, by their names, with what was given.

    Raises:
        ConfigError: the strategy has no answer without judging, or some of these options were given.
        RunError: there is no run, or its generator has not been trained.
        BudgetError: a budget set cannot be met.
    """
    from anybudget.search import STRATEGIES

    if strategy != ANSWERS:
        _ = STRATEGIES[strategy]  # an unknown name is said to be one
        raise ConfigError(
            f"--instant: the strategy {strategy} finds its answers by judging or training networks; the {ANSWERS} has "
            f"one before: anybudget generate {target} --instant"
        )
    given = ", ".join(name for name, value in otherwise.items() if value is not None)
    if given:
        raise ConfigError(f"--instant: judges and trains nothing, and reads no data, so leave out {given}")
    from anybudget.decoding.reachability import parse_budgets
    from anybudget.runs.instant import open_instantly

    recipe, generator = open_instantly(target)
    asked = [parse_budgets(text, generator.costs) for text in budgets] if budgets else recipe.budget_sets()
    rows = [proposal.to_dict() for proposal in generator.propose(asked)]
    if as_json:
        out.print_json(json.dumps(rows))
        return
    from anybudget.cli.tables import print_proposals

    print_proposals(rows, target)
