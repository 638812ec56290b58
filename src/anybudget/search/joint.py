"""Joint strategies: weights and a distribution over architectures trained together: DARTS, GDAS, FBNet, SETN."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from anybudget.budgets import BudgetSet
from anybudget.decoding.candidates import candidates_of
from anybudget.decoding.reachability import position
from anybudget.errors import ConfigError
from anybudget.generator.joint_settings import DrawName, GumbelSettings, JointSettings, Temperature
from anybudget.search.base import Found, SearchContext, Strategy, best_first
from anybudget.settings import Count, NonNegative, Rate, Settings

if TYPE_CHECKING:
    from anybudget.generator.joint import Aim
    from anybudget.nets import Supernet
    from anybudget.training.loop import TrainingContext

_DRAWS = 8
"""Candidates drawn before the noise grows, as for `direct`."""

_ALL = "all budgets"
"""Names the training that answers every budget set."""


@dataclass(frozen=True)
class Trained:
    """What joint training ends with: the weights, and for every decision the log-probabilities of its choices."""

    supernet: Supernet
    rows: list[NDArray[np.float64]]


class JointStrategy(Strategy, ABC):
    """Weights and architecture parameters trained together, on a fresh supernet of the run's space.

    The run's own supernet has no part in what is found; it scores the answer, as it scores those of all strategies. The
    final distribution is decoded exactly within each budget set. Where the settings have a `penalty`, every budget set
    has a training of its own, else one answers all. `training` counts what trainings cost, and, with several
    candidates, what it cost to judge these by the weights that were trained.

    A subclass says what a step of the weights and a step of the distribution compute with.

    Source: SGNAS §3.1, Eq. 3 and 4: what the generator replaces.
    Differs: the papers take the most probable choices, whatever they cost; here they are the most probable within the
        budgets.
    """

    settings_type = JointSettings
    conditioned = True
    settings: JointSettings
    for_weights: ClassVar[DrawName]
    for_architecture: ClassVar[DrawName]

    def __init__(self, context: SearchContext, settings: Settings | None = None) -> None:
        super().__init__(context, settings)
        if context.data is None:
            raise ConfigError(f"strategy {self.name}: trains on the training split; give the context its data")
        self.data = context.data
        self._shared: Trained | None = None

    def trained(self, budgets: BudgetSet) -> Trained:
        """The training that answers this budget set; it is done now, unless budget sets share it and one has asked.

        Raises:
            BudgetError: no architecture meets the budgets; nothing was trained.
            DataError: there are too few training images for two halves.
            TrainingError: the loss is not finite or diverges.
        """
        if self.settings.penalty:
            from anybudget.generator.joint import Aim

            aim = Aim(self.context.cost.terms, position(self.terms, self.context.cost.name, budgets))
            # By all their digits: what prints alike need not be the same.
            return self._train(aim, " ".join(f"{cost} {limit!r}" for cost, limit in budgets.limits().items()))
        if self._shared is None:
            self._shared = self._train(None, _ALL)
        return self._shared

    def find(self, budgets: BudgetSet) -> Found:
        """See `Strategy.find`."""
        sampler = self.feasible(budgets)
        trained = self.trained(budgets)
        decoded = candidates_of(
            [trained.rows], sampler, candidates=self.settings.candidates, seed=self.seed, draws=_DRAWS
        )
        best = next(iter(decoded))
        if len(decoded) > 1:
            judge = self.evaluator.with_weights(trained.supernet)
            best = best_first(dict(zip(decoded, judge.scores(list(decoded)), strict=True)))[0]
            if judge is not self.evaluator:
                self.training += judge.spent
        return Found(best, decoded[best])

    def _train(self, aim: Aim | None, name: str) -> Trained:
        import torch

        from anybudget.generator.free_distribution import FreeDistribution
        from anybudget.generator.joint import Method, train_jointly
        from anybudget.nets import build_supernet
        from anybudget.nets.blocks import channels_last
        from anybudget.runtime.process_state import seeded

        device = next(self.evaluator.supernet.parameters()).device
        with seeded(self.seed):
            supernet = channels_last(build_supernet(self.space).to(device))
        model = FreeDistribution(self.space).to(device)
        method = Method(self.name, self.for_weights, self.for_architecture, self.settings, aim)
        context = self._training_context(name)
        self.training += train_jointly(supernet, model, self.data, method, seed=self.seed, context=context)
        with torch.inference_mode():
            rows = model(model.logits.new_zeros(1), model.logits.new_zeros(1))[0].double().cpu().numpy()
        sizes = [len(decision.choices) for decision in self.space.decisions]
        return Trained(supernet, [row[:size] for row, size in zip(rows, sizes, strict=True)])

    def _training_context(self, name: str) -> TrainingContext | None:
        return None if self.context.training_context is None else self.context.training_context(name)


class DARTSStrategy(JointStrategy):
    """Differentiable architecture search, first order: weights and distribution by the softmax mixture of all choices.

    Every operation runs on every image, so a step takes the memory and the time of the whole supernet. Known to end
    with skip connections where these are among the choices: 54.30% on CIFAR-10 in NAS-Bench-201.

    Source: Liu, Simonyan and Yang, "DARTS", ICLR 2019, §2.3 (first order).
    Differs: its relaxation of cells with two inputs per node is the space's affair; a decision has one softmax.
    """

    name = "darts"
    for_weights: ClassVar[DrawName] = "softmax"
    for_architecture: ClassVar[DrawName] = "softmax"


class GDASStrategy(JointStrategy):
    """Gradient-based search by a differentiable sampler: in each step one drawn path, which alone has gradients.

    Source: Dong and Yang, "Searching for a robust neural architecture in four GPU hours", CVPR 2019, §3.2.
    Differs: its code adds what other choices have of the relaxed sample, 0 with a gradient, to the path; here the
        output of a choice is multiplied by its own value alone, 1 with the gradient of the relaxed sample.
    """

    name = "gdas"
    settings_type = GumbelSettings
    for_weights: ClassVar[DrawName] = "gumbel-path"
    for_architecture: ClassVar[DrawName] = "gumbel-path"


class FBNetSettings(GumbelSettings):
    """`[search.fbnet]`: with a penalty, so that every budget set has a training.

    Source: FBNet §4.1: the temperature falls from 5 by exp(-0.045) an epoch, to 0.09 after 90; Adam for the
        distribution with 0.01 and a weight decay of 5e-4.
    """

    temperature: Temperature = 5.0
    final_temperature: Temperature = 0.1
    cooling: Literal["linear", "geometric"] = "geometric"
    architecture_learning_rate: Rate = 0.01
    architecture_weight_decay: NonNegative = 5e-4
    penalty: NonNegative = 10.0


class FBNetStrategy(JointStrategy):
    """Differentiable search with a cost in its loss: relaxed samples of all choices, one training for every budget.

    Source: Wu et al., "FBNet", CVPR 2019, §3.2 and 3.3; SGNAS §3.1, Eq. 4.
    Differs: FBNet multiplies the cross-entropy by a power of the logarithm of the latency, which has no budget; here
        the gap to the budget is added, as SGNAS has it. Weights and distribution have half of the images each, where
        FBNet gives weights 80%, and the distribution trains from the first epoch, not from the eleventh.
    """

    name = "fbnet"
    settings_type = FBNetSettings
    for_weights: ClassVar[DrawName] = "gumbel"
    for_architecture: ClassVar[DrawName] = "gumbel"


class SETNSettings(JointSettings):
    """`[search.setn]`: as many candidates as the benchmark's code judges."""

    candidates: Count = 100


class SETNStrategy(JointStrategy):
    """One-shot search by a self-evaluated template: weights by uniform paths, the template by the mixture of all.

    The template, a distribution, says which candidates are worth judging by the weights.

    Source: Dong and Yang, "One-shot neural architecture search via self-evaluated template network", ICCV 2019, §3, in
        the form of NAS-Bench-201's code.
    Differs: candidates within the budgets are the most probable after noise, not draws.
    """

    name = "setn"
    settings_type = SETNSettings
    for_weights: ClassVar[DrawName] = "uniform-path"
    for_architecture: ClassVar[DrawName] = "softmax"
