"""The records of `anybudget bench`: what strategies answered, and what supernets and answers are worth in truth."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from anybudget.storage.records.schemas import AnArchitecture, Count, Number, Record, Spent


class BenchRaced(Record):
    """The answers of a strategy after the race at the end, and what the race has cost."""

    architectures: tuple[AnArchitecture, ...]
    spent: Spent


class BenchAnswers(Record):
    """`bench/NAME.json` of a seed's run: a strategy's answer to every budget, in multiply-adds of the full network.

    `settings` decide them; `seconds` is the time of each query, `losses` are those by the supernet, None for one that
    is not finite; an earlier version kept none. `raced` are the answers after a race, if there is one.
    """

    strategy: str
    settings: dict[str, Any]
    limits: tuple[Number, ...]
    architectures: tuple[AnArchitecture, ...]
    seconds: tuple[Number, ...]
    spent: Spent
    training: Spent
    losses: tuple[Number | None, ...] = ()
    raced: BenchRaced | None = None


class Figure(Record):
    """A figure over the seeds: the mean, its standard error (None with one seed), and what each seed gave."""

    mean: Number | None
    error: Number | None
    values: tuple[Number | None, ...]


class OrderFigures(Record):
    """How well scores order the networks; see `anybudget.tabular.order.Order`."""

    kendall: Figure
    spearman: Figure
    top_kendall: Figure
    precision: Figure


class StrategyWorth(Record):
    """What the answers of a strategy are worth in truth, over the budgets.

    `regret` is the mean and `worst` the largest regret in points, `equivalent` the equivalent N at the mean regret of
    all seeds, and `by_budget` the regret at every budget. `largest_percent` is the true accuracy of the answer to the
    largest budget, and `others_percent` its accuracies of other splits and data sets, by the table's columns, where it
    has any. `spent` is the mean over the seeds; None for what looks at no supernet.
    """

    name: str
    regret: Figure
    worst: Figure
    violations: Count
    hypervolume_ratio: Figure
    largest_percent: Figure
    others_percent: dict[str, Figure] = Field(default={})
    equivalent: Count
    equivalents: tuple[Count, ...]
    by_budget: tuple[Figure, ...]
    spent: Spent | None = None
    training: Spent | None = None


class BlendFigures(Record):
    """A blend of the loss with the size `floor`, at the weight that each seed's validation halves chose."""

    floor: str
    weights: tuple[Number, ...]
    order: OrderFigures
    regret: Figure


class Cloud(Record):
    """Scores of a seed's supernet, in the order of the record's truth; None for a loss that is not finite.

    `generated` are true accuracy and loss of each answer of the generator.
    """

    seed: Count
    loss: tuple[Number | None, ...]
    top1_percent: tuple[Number, ...]
    generated: tuple[tuple[Number, Number | None], ...] = ()


class Bench(Record):
    """`bench.json`: supernets and strategies of a tabular benchmark against its truth.

    `limits` are the budgets. `order` is by score (`loss`, `top1`), `first` the mean regret of the truly best of the
    first 1, 5, 10 and 16 by score. `random` is the expected mean regret of random search by its true evaluations.
    `images` are those that a seed trains on, judges and calibrates by. Of all `networks` a sample of `scored` may have
    been scored: then `order`, `floors`, `ceiling`, `truth_percent` and `clouds` are of these, and `first` and `blends`
    are empty.
    """

    benchmark: str
    track: str
    seeds: tuple[Count, ...]
    networks: Count
    scored: Count
    images: dict[str, Count]
    limits: tuple[Number, ...]
    order: dict[str, OrderFigures]
    floors: dict[str, OrderFigures]
    ceiling: OrderFigures | None
    first: dict[str, dict[str, Figure]]
    blends: tuple[BlendFigures, ...]
    random: dict[str, Number]
    strategies: tuple[StrategyWorth, ...]
    training_seconds: Figure
    scoring_seconds: Figure
    truth_percent: tuple[Number, ...]
    clouds: tuple[Cloud, ...]
