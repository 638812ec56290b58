"""From the figures of trained networks to what they say: means, their errors, and whether the search found anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc, stdtrit

from anybudget.storage.records import Equivalent, Estimate, RoleSummary, TrainedNetwork, WorthSummary
from anybudget.storage.records.worth import Verdict
from anybudget.worth.best_of import Normal, count_in_sample, least_count

CONFIDENCE = 0.95
"""That of the interval of a difference, by which it is decided whether the search found anything."""

ALIKE = 0.05
"""Random networks whose spread would be as great in more than this share of cases, if all were equal, are alike."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Figures:
    """Test figures in percent of one run at one budget, one for each seed of a training.

    `others` are networks besides, with their roles and names.
    """

    answer: Sequence[float]
    random: Sequence[Sequence[float]]
    others: Sequence[TrainedNetwork] = ()

    @classmethod
    def of(cls, networks: Sequence[TrainedNetwork]) -> Figures:
        """The figures of the networks that were trained for one budget set."""
        found = {role: [n.test_percent for n in networks if n.role == role] for role in ("answer", "random")}
        others = [network for network in networks if network.role not in found]
        return cls(found["answer"][0], found["random"], others)


def summarise(runs: Sequence[Figures]) -> WorthSummary:
    """What trained networks say of the answers to one budget.

    Of one run, the error of the answer is that of its trainings: the variance between trainings of one network, pooled
    over all networks, over the number of seeds. The error of the random mean is that between networks. Trained with one
    seed, an answer is given the spread of the random networks as its error, which is more than its own.
    Of several runs, all errors are over runs, each with a supernet, random networks and trainings of its own.

    The rule: the answer is `better` or `worse` where the 95% interval of the difference (Student's t, Welch's degrees
    of freedom) leaves out 0. Otherwise all is `flat` where an F test cannot tell the variance between random networks
    from that between trainings of one, and `unresolved` where it can, or where each network was trained once.

    Args:
        runs: of each run, the figures; of one, or of several with other seeds.
    """
    answers = np.array([np.mean(run.answer) for run in runs])
    groups = [np.array([np.mean(row) for row in run.random]) for run in runs]
    random, noise = np.concatenate(groups), _noise(runs)
    seeds = len(runs[0].answer)
    single = _Single(noise, seeds, random) if len(runs) == 1 else None
    answer = _estimate(answers, single.answer_error if single else None)
    mean = _estimate(np.array([group.mean() for group in groups]), single.random_error if single else None)
    differences = answers - np.array([group.mean() for group in groups])
    difference = _estimate(differences, single.difference_error if single else None)
    freedom = single.freedom if single else len(runs) - 1.0
    reach = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * (difference.error or 0.0)
    interval = (difference.percent - reach, difference.percent + reach)
    alike = _alike(runs, noise)
    own = 0.0 if noise is None else noise.variance / seeds
    return WorthSummary(
        answer=answer,
        random=mean,
        random_count=len(random),
        random_best=float(random.max()),
        difference=difference,
        interval=interval,
        spread=math.sqrt(max(0.0, _between(groups) - own)),
        seed_noise=None if noise is None else math.sqrt(noise.variance),
        alike=alike,
        equivalent=equivalent(random.tolist(), answer),
        verdict=_verdict(interval, alike),
        others=_others(runs, noise),
    )


def equivalent(random: Sequence[float], answer: Estimate) -> Equivalent:
    """How many random networks an answer is worth; see `anybudget.worth.best_of`."""
    figure = answer.percent
    networks, normal = count_in_sample(random, figure), Normal.of(random)
    extrapolated = figure > max(random)
    low = high = None
    if normal is not None:
        low, high = normal.range(figure, answer.error or 0.0)
        if extrapolated:  # better than all that were trained, it is worth these at least
            networks = max(networks, normal.equivalent(figure))
        low, high = min(low, networks), max(high, networks)
    return Equivalent(
        networks=networks,
        extrapolated=extrapolated,
        low=low,
        high=high,
        at_least=least_count(random, figure),
    )


@dataclass(frozen=True, slots=True)
class _Noise:
    """The variance between trainings of one network, and the degrees of freedom that it is known with."""

    variance: float
    freedom: int


@dataclass(frozen=True, slots=True)
class _Single:
    """The errors of a single run."""

    noise: _Noise | None
    seeds: int
    random: Floats

    @property
    def _parts(self) -> tuple[tuple[float, int], tuple[float, int]]:
        """The variances of the answer and of the random mean, each with its degrees of freedom."""
        between, count = float(self.random.var(ddof=1)), len(self.random)
        own = (between, count - 1) if self.noise is None else (self.noise.variance / self.seeds, self.noise.freedom)
        return own, (between / count, count - 1)

    @property
    def answer_error(self) -> float | None:
        return None if self.noise is None else math.sqrt(self._parts[0][0])

    @property
    def random_error(self) -> float:
        return math.sqrt(self._parts[1][0])

    @property
    def difference_error(self) -> float:
        return math.sqrt(sum(variance for variance, _ in self._parts))

    @property
    def freedom(self) -> float:
        """Welch and Satterthwaite's."""
        total = sum(variance for variance, _ in self._parts)
        weights = sum(variance**2 / freedom for variance, freedom in self._parts)
        return total**2 / weights if weights else float(len(self.random) - 1)


def _estimate(values: Floats, error: float | None) -> Estimate:
    """The mean of a value for each run; its error over runs, or of a single run the one that is given."""
    if len(values) > 1:
        error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return Estimate(percent=float(values.mean()), error=error)


def _noise(runs: Sequence[Figures]) -> _Noise | None:
    """The noise of trainings, pooled over all networks of all runs; None where each was trained once."""
    rows = [np.asarray(row, dtype=float) for run in runs for row in _all(run)]
    freedom = sum(len(row) - 1 for row in rows)
    if not freedom:
        return None
    return _Noise(sum(float(((row - row.mean()) ** 2).sum()) for row in rows) / freedom, freedom)


def _all(run: Figures) -> list[Sequence[float]]:
    return [run.answer, *run.random, *(network.test_percent for network in run.others)]


def _between(groups: Sequence[Floats]) -> float:
    """The variance of random networks about the mean of their run."""
    freedom = sum(len(group) - 1 for group in groups)
    return sum(float(((group - group.mean()) ** 2).sum()) for group in groups) / freedom


def _alike(runs: Sequence[Figures], noise: _Noise | None) -> float | None:
    """The probability of random networks as different as these, if trainings of one network differed as much."""
    if noise is None:
        return None
    groups = [np.array([np.mean(row) for row in run.random]) for run in runs]
    between = len(runs[0].answer) * _between(groups)
    if not noise.variance:
        return 0.0 if between else 1.0
    return float(fdtrc(sum(len(g) - 1 for g in groups), noise.freedom, between / noise.variance))


def _verdict(interval: tuple[float, float], alike: float | None) -> Verdict:
    low, high = interval
    if low > 0:
        return "better"
    if high < 0:
        return "worse"
    return "flat" if alike is not None and alike > ALIKE else "unresolved"


def _others(runs: Sequence[Figures], noise: _Noise | None) -> tuple[RoleSummary, ...]:
    """The networks besides, by role and name: of several runs, those that all runs have."""
    found: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        for network in run.others:
            key = network.role, network.name if network.role == "reference" else ""
            found.setdefault(key, []).append(float(np.mean(network.test_percent)))
    error = None if noise is None else math.sqrt(noise.variance / len(runs[0].answer))
    return tuple(
        RoleSummary.model_validate({"role": role, "name": name, "test": _estimate(np.array(values), error)})
        for (role, name), values in found.items()
        if len(values) == len(runs)
    )
