"""The harness of tabular benchmarks: scores and answers of several seeds' supernets, held against the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from anybudget.runtime.accounting import Spending
from anybudget.search.generator import GeneratorStrategy
from anybudget.storage.records import (
    BenchAnswers,
    BlendFigures,
    Cloud,
    Figure,
    OrderFigures,
    Spent,
    StrategyWorth,
)
from anybudget.tabular.blend import Blend, blends
from anybudget.tabular.order import Order, order
from anybudget.tabular.regret import FIRST, BudgetTruth
from anybudget.tabular.truth import Truth, Values

RANDOM = (1, 10, 50, 100, 500)
"""For how many true evaluations the regret of random search is said."""


@dataclass(frozen=True, eq=False)
class SeedScores:
    """What one supernet says of networks, and what strategies answered with it; truth is in neither.

    Args:
        seed: of its training.
        loss: mean cross-entropy in nats, `[n]` in the order of the networks that were scored.
        top1: top-1 in percent, `[n]`.
        fold_losses: the loss on disjoint parts of the validation images, `[folds, n]`.
        answers: of every strategy, by name.
        spent: what scoring these networks has cost.
        training_seconds: how long the supernet was trained.
    """

    seed: int
    loss: Values
    top1: Values
    fold_losses: Values
    answers: Mapping[str, BenchAnswers]
    spent: Spending
    training_seconds: float

    @property
    def by_loss(self) -> Values:
        """The loss as a score, higher being better; one that is no number is the worst there is."""
        return -np.nan_to_num(self.loss, nan=np.inf, posinf=np.inf)

    @property
    def by_top1(self) -> Values:
        """Top-1 as a score that tells equals apart by their loss: ranks from 0, higher being better."""
        ranks = np.empty(len(self.top1))
        ranks[np.lexsort((self.by_loss, self.top1))] = np.arange(len(ranks))
        return ranks


def figure(values: Sequence[float | None]) -> Figure:
    """Mean and standard error over the seeds; None where a seed has no such figure."""
    known = [float(value) for value in values if value is not None]
    whole = len(known) == len(values)
    error = float(np.std(known, ddof=1) / np.sqrt(len(known))) if whole and len(known) > 1 else None
    return Figure(mean=float(np.mean(known)) if whole else None, error=error, values=tuple(values))


def order_figures(orders: Sequence[Order]) -> OrderFigures:
    """Figures of how well scores of several seeds order the networks."""
    rows = [asdict(found) for found in orders]
    return OrderFigures(**{name: figure([row[name] for row in rows]) for name in rows[0]})


def orders(truth: Truth, seeds: Sequence[SeedScores]) -> dict[str, OrderFigures]:
    """How well each score orders the networks that were scored, whose truth is given."""
    return {
        "loss": order_figures([order(seed.by_loss, truth.percent) for seed in seeds]),
        "top1": order_figures([order(seed.top1, truth.percent) for seed in seeds]),
    }


def first_regrets(budgets: BudgetTruth, seeds: Sequence[SeedScores]) -> dict[str, dict[str, Figure]]:
    """The mean regret of the truly best among the first few by each score: what a race among them could get."""
    scores: dict[str, Callable[[SeedScores], Values]] = {"loss": lambda s: s.by_loss, "top1": lambda s: s.by_top1}
    return {
        name: {
            str(count): figure([budgets.first_regret(score(seed), count).mean() for seed in seeds]) for count in FIRST
        }
        for name, score in scores.items()
    }


def blend_figures(budgets: BudgetTruth, seeds: Sequence[SeedScores]) -> tuple[BlendFigures, ...]:
    """What averages of ranks with a network's MACs and depth are worth."""
    truth = budgets.truth
    sizes = {name: truth.floors[name] for name in ("macs", "depth")}
    by_size: list[list[Blend]] = [list(row) for row in zip(*(blends(s.fold_losses, sizes) for s in seeds), strict=True)]
    return tuple(
        BlendFigures(
            floor=row[0].floor,
            weights=tuple(blend.weight for blend in row),
            order=order_figures([order(blend.scores, truth.percent) for blend in row]),
            regret=figure([budgets.regret(budgets.picked(blend.scores)).mean() for blend in row]),
        )
        for row in by_size
    )


def strategies(budgets: BudgetTruth, seeds: Sequence[SeedScores], *, whole: bool) -> tuple[StrategyWorth, ...]:
    """What every strategy's answers are worth, best first, and then those of the yardsticks that search nothing.

    A strategy whose answers raced comes twice. `exhaustive-top1`, which is there if the `whole` table has been scored,
    answers with the network of highest top-1 within a budget, of equal ones with that of lowest loss; `largest` with
    the one that has the most multiply-adds, `deepest` with the one that has the most layers and of these the most
    multiply-adds.
    """
    found = [row for name in seeds[0].answers for row in _answered(name, budgets, [s.answers[name] for s in seeds])]
    found.sort(key=lambda strategy: (strategy.regret.mean or 0.0, strategy.name))
    if whole:
        scored = _mean([Spent.model_validate(seed.spent.to_dict()) for seed in seeds])
        found.append(worth("exhaustive-top1", budgets, [budgets.picked(s.by_top1) for s in seeds], scored, None))
    truth = budgets.truth
    deepest = truth.floors["depth"] + truth.macs / (1.0 + truth.macs.max())
    for name, values in (("largest", truth.macs), ("deepest", deepest)):
        found.append(worth(name, budgets, [budgets.picked(values)] * len(seeds), None, None))
    return tuple(found)


def _answered(name: str, budgets: BudgetTruth, answers: Sequence[BenchAnswers]) -> Iterator[StrategyWorth]:
    """What a strategy's answers are worth, those of each seed, and what they are worth after the race."""
    index = budgets.truth.index
    training = _mean([seed.training for seed in answers])
    rows = [[index[a] for a in seed.architectures] for seed in answers]
    yield worth(name, budgets, rows, _mean([seed.spent for seed in answers]), training)
    raced = [seed.raced for seed in answers if seed.raced is not None]
    if len(raced) == len(answers):
        rows = [[index[a] for a in seed.architectures] for seed in raced]
        spent = _sum(_mean([seed.spent for seed in answers]), _mean([seed.spent for seed in raced]))
        yield worth(f"{name}, raced", budgets, rows, spent, training)


def worth(
    name: str, budgets: BudgetTruth, answers: Sequence[Sequence[int]], spent: Spent | None, training: Spent | None
) -> StrategyWorth:
    """What answers are worth: for every seed, the row of the truth that answers each budget."""
    regrets = np.array([budgets.regret(rows) for rows in answers])

    def at_the_largest(percent: Values) -> Figure:
        return figure([float(percent[rows[-1]]) for rows in answers])

    return StrategyWorth(
        name=name,
        regret=figure(list(regrets.mean(axis=1))),
        worst=figure(list(regrets.max(axis=1))),
        violations=sum(budgets.violations(rows) for rows in answers),
        hypervolume_ratio=figure([budgets.hypervolume_ratio(rows) for rows in answers]),
        largest_percent=at_the_largest(budgets.truth.percent),
        others_percent={name: at_the_largest(values) for name, values in budgets.truth.others.items()},
        equivalent=budgets.equivalent(float(regrets.mean())),
        equivalents=tuple(budgets.equivalent(float(row.mean())) for row in regrets),
        by_budget=tuple(figure(list(column)) for column in regrets.T),
        spent=spent,
        training=training,
    )


def random_regrets(budgets: BudgetTruth) -> dict[str, float]:
    """The expected mean regret of random search with true evaluations, by how many."""
    return {str(count): float(budgets.random_regret(count).mean()) for count in RANDOM}


def clouds(truth: Truth, seeds: Sequence[SeedScores]) -> tuple[Cloud, ...]:
    """The scores of networks, for pictures, with the generator's answers, if it has answered."""
    return tuple(
        Cloud(
            seed=seed.seed,
            loss=tuple(value if np.isfinite(value) else None for value in seed.loss.tolist()),
            top1_percent=tuple(seed.top1.tolist()),
            generated=_generated(truth, seed),
        )
        for seed in seeds
    )


def _generated(truth: Truth, seed: SeedScores) -> tuple[tuple[float, float | None], ...]:
    """The true accuracy and the loss of each of the generator's answers."""
    found = seed.answers.get(GeneratorStrategy.name)
    if found is None or not found.losses:
        return ()
    percent = [float(truth.percent[truth.index[network]]) for network in found.architectures]
    return tuple(zip(percent, found.losses, strict=True))


_SPENT = ("evaluations", "images", "macs", "seconds")


def _mean(spent: Sequence[Spent]) -> Spent:
    """What seeds have spent on average."""
    return Spent(**{name: float(np.mean([getattr(one, name) for one in spent])) for name in _SPENT})


def _sum(one: Spent, other: Spent) -> Spent:
    return Spent(**{name: getattr(one, name) + getattr(other, name) for name in _SPENT})
