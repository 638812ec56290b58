"""The schema of `worth.json`: answers of a search against random networks of their cost, all trained alone."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from anybudget.storage.records.schemas import Amount, AnArchitecture, Costs, Count, Limits, Number, Record, said

Role = Literal["answer", "random", "supernet_first", "plain", "reference"]
"""Why a network was trained: found, drawn, first of many drawn by the supernet, one operation in all layers, given."""

Verdict = Literal["better", "worse", "flat", "unresolved"]
"""The answer is better or worse than random networks; or no difference: all are alike, or it cannot be told."""


class TrainedNetwork(Record):
    """A network, and its test figure in percent after each training, in the order of the seeds.

    `name` tells references apart, and says what a plain network has in every layer. `supernet` has the metrics on
    validation images with the supernet's weights. `test_balanced_accuracy_percent` is beside `test_percent` where that
    is another metric; a run from before it was kept has none.
    """

    role: Role
    name: str = ""
    architecture: AnArchitecture
    costs: Costs
    supernet: dict[str, Number] = Field(default={})
    test_percent: tuple[Number, ...] = Field(min_length=1)
    test_balanced_accuracy_percent: tuple[Number, ...] = ()


class Estimate(Record):
    """A mean in percent, or a difference in points, and its standard error; None where nothing tells it."""

    percent: Number
    error: Amount | None


class Equivalent(Record):
    """How many random networks an answer is worth: the best of `networks` is as good on average.

    `extrapolated` says whether that is beyond the networks that were trained. `low` and `high` are the range by a
    normal distribution, None where it cannot be told. `at_least` holds without any model, with 95% confidence.
    """

    networks: Amount
    extrapolated: bool
    low: Amount | None
    high: Amount | None
    at_least: Amount


class RoleSummary(Record):
    """Networks of one role and name: mean and standard error."""

    role: Role
    name: str
    test: Estimate


class WorthSummary(Record):
    """What the trained networks of one budget set say.

    `difference` is the answer minus the mean of the random networks, `interval` its 95% confidence interval.
    `spread` is the standard deviation between random networks in points, that of trainings of one network taken out
    (`seed_noise`, None with one seed); `alike` is the probability of a spread like theirs if all were equally good.
    """

    answer: Estimate
    random: Estimate
    random_count: Count
    random_best: Number
    difference: Estimate
    interval: tuple[Number, Number]
    spread: Amount
    seed_noise: Amount | None
    alike: Amount | None
    equivalent: Equivalent
    verdict: Verdict
    others: tuple[RoleSummary, ...] = ()


class WorthAtBudget(Record):
    """One budget set: `floor` is the least of the first cost that its random networks use."""

    budgets: Limits
    floor: Amount
    networks: tuple[TrainedNetwork, ...]
    summary: WorthSummary

    @model_validator(mode="after")
    def _has_an_answer_and_random_networks(self) -> Self:
        roles = [network.role for network in self.networks]
        answers, random = roles.count("answer"), roles.count("random")
        if answers != 1 or random < 2:
            raise said(f'"networks": must hold one answer and two or more random ones, found {answers} and {random}')
        if len({len(network.test_percent) for network in self.networks}) > 1:
            raise said('"networks": must all have as many figures in "test_percent"')
        return self

    @property
    def answer(self) -> TrainedNetwork:
        """The answer."""
        return next(network for network in self.networks if network.role == "answer")


class Worth(Record):
    """`worth.json`: for each budget set, networks that were trained alike, alone, and what they say.

    `metric` is the one of all figures, `seeds` are those of the trainings, `scored` is the number of random networks of
    which the supernet chose its first, `strategy` what answered (None: the run's own answers). `settings` are all that
    decides a training.
    """

    metric: str
    epochs: Count
    seeds: tuple[Count, ...]
    scored: Count
    random_window: Number
    strategy: str | None = None
    test_images: Count
    test_largest_class_percent: Number
    settings: dict[str, Any]
    seconds: Amount
    budgets: tuple[WorthAtBudget, ...] = Field(min_length=1)
