"""The refined strategy: the generator first, then offspring of the best that a model of all scores picks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import count as counted

import numpy as np
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.search.additive import AdditiveModel, fit_additive
from anybudget.search.base import Candidate, Found, SearchContext, Strategy, best_first
from anybudget.search.generator import GeneratorSettings, GeneratorStrategy
from anybudget.search.population import new_and_allowed
from anybudget.settings import Count, Natural, Settings
from anybudget.spaces import SearchSpace

PARENTS = 10
"""How many of the best evaluated networks within a budget have children."""
CHILDREN = 400
"""How many new children within the budgets are made for the few that are evaluated; the model tells them apart."""
ATTEMPTS = 10
"""How many children may be made for each of these."""


class RefinedSettings(GeneratorSettings):
    """`[search.refined]`: what the generator does at first, then `rounds` of `per_round` offspring per budget set."""

    candidates: Count = 20
    rounds: Natural = 8
    per_round: Count = 8


class RefinedStrategy(Strategy):
    """The generator's candidates for all budget sets, then a few rounds of promising offspring of the best.

    Every round fits `AdditiveModel` to the losses and to the top-1 of all networks evaluated so far, for whatever
    budget: losses are less noisy, top-1 is what counts. For every budget set the best within it, by either,
    are crossed and mutated, and of the children that meet the budgets those with the best sum of both predictions are
    evaluated. The answer to a budget set is the best network within it that was evaluated for any of them; it may use
    less of the budget than the generator's own candidates do.
    """

    name = "refined"
    settings_type = RefinedSettings
    needs_generator = True
    conditioned = True
    settings: RefinedSettings

    def __init__(self, context: SearchContext, settings: Settings | None = None) -> None:
        super().__init__(context, settings)
        first = GeneratorSettings(priors=self.settings.priors, candidates=self.settings.candidates)
        self.generator = GeneratorStrategy(context, first)
        self.training = self.generator.training

    def search(self, budgets: Sequence[BudgetSet]) -> list[Candidate]:
        """See `Strategy.search`; all budget sets share what is evaluated."""
        self.check(budgets)
        evaluated = self._evaluated_for(budgets)
        return [self.answer(budget_set, lambda asked: self._best_of(evaluated, asked)) for budget_set in budgets]

    def find(self, budgets: BudgetSet) -> Found:
        """See `Strategy.find`."""
        return self._best_of(self._evaluated_for([budgets]), budgets)

    def _best_of(self, evaluated: Collection[Architecture], budgets: BudgetSet) -> Found:
        return Found(best_within(self, budgets, evaluated)[0])

    def _evaluated_for(self, budgets: Sequence[BudgetSet]) -> Collection[Architecture]:
        """The generator's candidates for all budget sets and rounds of offspring, evaluated, to choose from."""
        evaluated: dict[Architecture, None] = {}
        rng = np.random.default_rng(self.seed)

        def evaluate(architectures: Iterable[Architecture]) -> None:
            new = dict.fromkeys(architectures)
            self.evaluator.scores(list(new))
            evaluated.update(new)
            task.advance()

        with self.progress.task(self.name, (1 + self.settings.rounds) * len(budgets)) as task:
            for budget_set in budgets:
                evaluate(self.generator.decode(budget_set))
            for _ in range(self.settings.rounds):
                models = self._models(evaluated)
                for budget_set in budgets:
                    evaluate(promising(self, budget_set, evaluated, models, self.settings.per_round, rng))
        return evaluated

    def _models(self, evaluated: Collection[Architecture]) -> list[AdditiveModel]:
        """One model of the losses and one of the primary metric."""
        scores = self.evaluator.scores(list(evaluated))
        choices = np.array([architecture.choices for architecture in evaluated])
        figures = [-score.loss for score in scores], [score.merit for score in scores]
        return [fit_additive(self.space, choices, standardised(values)) for values in figures]


def promising(
    strategy: Strategy,
    budgets: BudgetSet,
    evaluated: Collection[Architecture],
    models: Sequence[AdditiveModel],
    count: int,
    rng: np.random.Generator,
) -> list[Architecture]:
    """Up to `count` new offspring of the best evaluated networks within the budgets, best predicted first.

    Where breeding finds less than `count`, random networks within the budgets fill the places, so that a round is short
    only where hardly any others exist.
    """
    best = best_within(strategy, budgets, evaluated)
    scores = dict(zip(best, strategy.evaluator.scores(best), strict=True))
    by_loss = sorted(best, key=lambda architecture: scores[architecture].loss)
    parents = list(dict.fromkeys([*best[: PARENTS // 2], *by_loss[: PARENTS // 2]]))
    children = new_and_allowed(
        _offspring(strategy.space, parents, rng) if parents else (),
        max(CHILDREN, count),
        known=evaluated,
        allowed=lambda child: strategy.allowed(child, budgets),
        attempts=ATTEMPTS,
    )
    if len(children) < count:
        children += strategy.feasible(budgets).sample(count - len(children), rng, known={*evaluated, *children})
    if not children:
        return []
    choices = np.array([child.choices for child in children])
    predicted = np.sum([model.predict(choices) for model in models], axis=0)
    order = np.argsort(-predicted, kind="stable")[:count]
    return [children[int(index)] for index in order]


def _offspring(space: SearchSpace, parents: Sequence[Architecture], rng: np.random.Generator) -> Iterator[Architecture]:
    """Mutations of the parents and of crossings of two of them, by turns, as many as are asked for."""
    for number in counted():
        first, second = (parents[int(index)] for index in rng.integers(len(parents), size=2))
        child = space.crossover(first, second, rng) if number % 2 else first
        yield space.mutate(child, rng, 1.0 / len(space.decisions))


def standardised(values: Sequence[float]) -> NDArray[np.float64]:
    """Values with mean 0 and standard deviation 1, so that models of different figures can be added up."""
    array: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    centred: NDArray[np.float64] = array - array.mean()
    return centred / (float(array.std()) or 1.0)


def best_within(strategy: Strategy, budgets: BudgetSet, evaluated: Collection[Architecture]) -> list[Architecture]:
    """The evaluated networks that meet the budgets, best first: by `Metrics.rank`."""
    fitting = strategy.within(budgets, evaluated)
    return best_first(dict(zip(fitting, strategy.evaluator.scores(fitting), strict=True)))
