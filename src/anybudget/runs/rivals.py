"""Which networks are trained to say what a search is worth; whatever forbids it is said before any work."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet, exact_quantity
from anybudget.errors import ConfigError, RunError
from anybudget.runs.answers import ANSWERS, read_answers
from anybudget.runs.context import RunContext
from anybudget.runs.stages.baseline import same_cost
from anybudget.search.base import exact_costs
from anybudget.storage.records.worth import Role
from anybudget.worth.rivals import draw_random, plain_network
from anybudget.worth.settings import FEWEST, WorthSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be found out.

    `budgets` are those of the recipe if None, `strategy` is that whose answers in `search/NAME.jsonl` count, the run's
    own if None, and `references` are named architectures, each compared at the budgets whose window it lies in.
    """

    settings: WorthSettings
    budgets: Sequence[BudgetSet] | None = None
    strategy: str | None = None
    references: Sequence[tuple[str, Architecture]] = ()


RANDOM = 8
"""Random networks for each budget where neither the recipe nor the caller says how many."""


def asked_for(section: WorthSettings, **given: int | None) -> WorthSettings:
    """`[worth]` of a recipe with what a caller gives besides; `RANDOM` networks where it leaves the stage out."""
    default = section if section.random else section.model_copy(update={"random": RANDOM})
    return default.model_copy(update={key: value for key, value in given.items() if value is not None})


@dataclass(frozen=True, slots=True)
class Rival:
    """A network that is trained: why, and the name that tells it apart."""

    role: Role
    architecture: Architecture
    name: str = ""


@dataclass(slots=True)
class Entry:
    """One budget set: the least of its first cost that random networks use, those that are scored, those trained."""

    budgets: BudgetSet
    floor: float
    pool: tuple[Architecture, ...]
    rivals: list[Rival] = field(default_factory=list)


def entries_of(run: RunContext, question: Question) -> list[Entry]:
    """The networks of every budget set, but for those that the supernet has to choose.

    Raises:
        BudgetError: a budget cannot be met.
        ConfigError: fewer than two random networks are asked for, or a reference belongs to no budget.
        RunError: a budget has no answer, or fewer than two random networks; or a line of answers is damaged.
    """
    settings = question.settings
    if settings.random < FEWEST:
        raise ConfigError(f"{settings.random} random network(s) have no spread; ask for {FEWEST} or more")
    budgets = list(dict.fromkeys(run.recipe.budget_sets() if question.budgets is None else question.budgets))
    run.check_budgets(budgets)
    answers = _answers(run, question.strategy, budgets)
    entries = [_entry(run, settings, budget_set, answers[budget_set]) for budget_set in budgets]
    _add_references(run, question.references, entries)
    return entries


def _entry(run: RunContext, settings: WorthSettings, budgets: BudgetSet, answer: Architecture) -> Entry:
    window, count = run.recipe.search.random_window, max(settings.random, settings.scored)
    sampler = same_cost(run, budgets)
    pool = tuple(draw_random(sampler, run.recipe.seed, count))
    _check_enough(budgets, len(pool), settings.random, window)
    entry = Entry(
        budgets, sampler.floors.get(next(iter(budgets)).cost, 0.0), pool[: settings.scored], [Rival("answer", answer)]
    )
    _note_small_answer(run, entry, answer)
    entry.rivals += [Rival("random", architecture) for architecture in pool[: settings.random]]
    plain = plain_network(run.space, run.costs, budgets)
    if plain is not None:
        entry.rivals.append(Rival("plain", *plain))
    return entry


def _answers(run: RunContext, strategy: str | None, budgets: Sequence[BudgetSet]) -> dict[BudgetSet, Architecture]:
    """The last answer to each budget set.

    Raises:
        RunError: there is none to one of them; or a line is damaged.
    """
    name = ANSWERS if strategy is None else f"search/{strategy}.jsonl"
    found = dict(read_answers(run, name))
    missing = next((budget_set for budget_set in budgets if budget_set not in found), None)
    if missing is not None:
        path = run.folder.path
        command = f"generate {path}" if strategy is None else f"search {path} --strategy {strategy}"
        raise RunError(
            f"{run.folder.path / name}: has no answer to the budget {missing}; ask for it with: anybudget {command} "
            f'--budget "{missing}"'
        )
    return {budget_set: found[budget_set].architecture for budget_set in budgets}


def _check_enough(budgets: BudgetSet, there: int, wanted: int, window: float) -> None:
    if there < FEWEST:
        raise RunError(
            f"budget {budgets}: {there or 'no'} network(s) within it use {100 * window:g}% of what it leaves "
            f"attainable, and a comparison needs {FEWEST} random ones; lower search.random_window, or ask for another "
            "budget"
        )
    if there < wanted:
        log.warning(
            "budget %s: only %d of the %d random networks that were asked for are there, as no more use %g%% of it",
            budgets,
            there,
            wanted,
            100 * window,
        )


def _note_small_answer(run: RunContext, entry: Entry, answer: Architecture) -> None:
    """Say so where the answer uses less of its budget than any network that it is compared with."""
    cost = next(iter(entry.budgets)).cost
    used = run.costs[cost].cost(answer)
    if used < entry.floor:
        log.warning(
            "budget %s: the answer uses %s %s, and the random networks that it is compared with at least %s",
            entry.budgets,
            exact_quantity(used),
            cost,
            exact_quantity(round(entry.floor)),
        )


def _add_references(run: RunContext, references: Sequence[tuple[str, Architecture]], entries: Sequence[Entry]) -> None:
    """Give every reference to the budgets whose window it lies in.

    Raises:
        ConfigError: that is none, or a budget has two of one name.
    """
    for name, architecture in references:
        costs = exact_costs(run.costs, architecture)
        fitting = [e for e in entries if e.budgets.allows(costs) and costs[next(iter(e.budgets)).cost] >= e.floor]
        if not fitting:
            limited = list(dict.fromkeys(budget.cost for entry in entries for budget in entry.budgets))
            said = ", ".join(f"{costs[cost]:,.15g} {cost}" for cost in limited)
            raise ConfigError(
                f"reference {name}: costs {said}, and no budget allows that and has "
                f"{100 * run.recipe.search.random_window:g}% of it used; add --budget for a network of this size"
            )
        rival = Rival("reference", architecture, name)
        for entry in fitting:
            if any((other.role, other.name) == (rival.role, name) for other in entry.rivals):
                raise ConfigError(f"reference {name}: two of this name belong to {entry.budgets}; name them apart")
            entry.rivals.append(rival)
