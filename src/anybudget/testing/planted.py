"""The planted evaluator: top-1 from a table, so that brute force knows what a search should have found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import cast

import numpy as np

from anybudget.architecture import Architecture
from anybudget.costs import CostTerms
from anybudget.evaluation.evaluator import Evaluator
from anybudget.evaluation.metrics import TOP1, Metrics
from anybudget.nets import Supernet
from anybudget.runtime.accounting import Spending
from anybudget.runtime.progress import Task
from anybudget.spaces import SearchSpace


def planted_objective(space: SearchSpace, seed: int = 0) -> CostTerms:
    """A top-1 for every architecture, 0 to 100 percent: the sum of a random worth of each choice of each decision."""
    rng = np.random.default_rng(seed)
    most = 100 / len(space.decisions)
    return CostTerms(0.0, tuple(rng.uniform(0, most, len(decision.choices)) for decision in space.decisions))


class PlantedEvaluator(Evaluator):
    """The evaluator of an evaluator without images or networks: top-1 is `objective`, the loss minus that.

    It has `scores`, `score`, `scored` and `spent`, which counts evaluations only. It refuses architectures that are not
    canonical, which an evaluator would take for other networks and evaluate again.

    Args:
        space: whose architectures are evaluated.
        objective: top-1 in percent; by default `planted_objective(space)`.
        supernet: for strategies that train against it; without one there is only its space.
    """

    def __init__(
        self, space: SearchSpace, objective: CostTerms | None = None, *, supernet: Supernet | None = None
    ) -> None:
        # Nothing of the evaluator's own constructor, which makes an evaluator of images.
        self.supernet = supernet or cast(Supernet, SimpleNamespace(space=space))
        self.objective = objective or planted_objective(space)
        self.metric = TOP1
        self.spent = Spending()
        self.given: list[Architecture] = []
        self._planted: dict[Architecture, Metrics] = {}

    def with_weights(self, supernet: Supernet) -> PlantedEvaluator:  # noqa: ARG002 - weights decide no planted score
        """See `Evaluator.with_weights`: this one."""
        return self

    def top1(self, architecture: Architecture) -> float:
        """The planted top-1, evaluating nothing."""
        return self.objective.cost(architecture.choices)

    def scores(self, architectures: Sequence[Architecture], progress: Task | None = None) -> list[Metrics]:
        """See `Evaluator.scores`; `given` remembers every architecture that was asked for, in order."""
        for architecture in architectures:
            assert self.supernet.space.simplified(architecture) == architecture, (
                f"{architecture} is not canonical: its network would be evaluated once for every encoding"
            )
            self.given.append(architecture)
            if architecture not in self._planted:
                top1 = self.top1(architecture)
                self._planted[architecture] = Metrics(-top1, {TOP1: top1, "balanced_accuracy_percent": top1})
                self.spent.evaluations += 1
                if progress is not None:
                    progress.advance()
        return [self._planted[architecture] for architecture in architectures]

    @property
    def largest_class_percent(self) -> float:
        """0: without images there is no class to guess."""
        return 0.0

    @property
    def scored(self) -> Mapping[Architecture, Metrics]:
        """See `Evaluator.scored`."""
        return self._planted
