"""Who races for the answers of a strategy, and the answers after the race; strategies know nothing of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from anybudget.architecture import Architecture
from anybudget.errors import BudgetError
from anybudget.runtime.accounting import Spending
from anybudget.search.base import Candidate, Strategy, exact_costs
from anybudget.search.race import Race
from anybudget.search.race_settings import RaceSettings
from anybudget.search.raced import Raced, key, spending


def finalists(strategy: Strategy, answer: Candidate, settings: RaceSettings) -> list[Architecture]:
    """The networks that race for the budgets of an answer, the best first.

    These are the best of all that the strategy's evaluator has judged and the budgets allow, by what the race goes by,
    and the answer itself.
    """
    scored = strategy.evaluator.scored
    allowed = [a for a in strategy.within(answer.budgets, scored) if a != answer.architecture]
    order = sorted(
        (answer.architecture, *sorted(allowed, key=lambda a: a.choices)),
        key=lambda a: key(scored[a], settings.by),
        reverse=True,
    )
    best = order[: settings.candidates]
    # However a strategy has come to its answer, that is among them.
    return best if answer.architecture in best else [*best[:-1], answer.architecture]


def race_answers(race: Race, strategy: Strategy, answers: Sequence[Candidate]) -> tuple[list[Candidate], Spending]:
    """The answers of a strategy after a race of the best that it has judged, and what that has cost.

    Each is the winner for its budgets, with its supernet score as before, and the whole race in `race`.
    """
    raced = race.run([finalists(strategy, answer, race.settings) for answer in answers])
    found = [_won(strategy, answer, result) for answer, result in zip(answers, raced, strict=True)]
    return found, spending(raced)


def _won(strategy: Strategy, answer: Candidate, raced: Raced) -> Candidate:
    """An answer with the winner in its place."""
    architecture = raced.winner.architecture
    if architecture == answer.architecture:
        return replace(answer, race=raced)
    costs = exact_costs(strategy.costs, architecture)
    if not answer.budgets.allows(costs):
        raise BudgetError(f"{strategy.name}: a race was won by a network over {answer.budgets}; this is a defect")
    return replace(
        answer,
        architecture=architecture,
        costs=costs,
        metrics=strategy.evaluator.scored[architecture],
        log_probability=None,
        race=raced,
    )
