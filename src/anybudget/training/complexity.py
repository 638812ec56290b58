"""Complexity-aware rates: while a supernet trains, large networks learn fast for longer than small ones."""

from __future__ import annotations

import math

from anybudget.costs import build_costs
from anybudget.decoding.reachability import extremes
from anybudget.errors import ConfigError
from anybudget.spaces import PathEncoding, SearchSpace
from anybudget.training.annealing import Annealing

_SMALLEST, _LARGEST = 4.0, 0.25
"""The exponents of the networks with the fewest and the most parameters."""


class ComplexityRate:
    """Falls from 1 to 0 as `(1 - progress) ** gamma`, for each path with a `gamma` of its own.

    `gamma` falls linearly in the logarithm of a network's parameters, from 4 for the smallest network of the space to
    1/4 for the largest. Small networks converge early; large ones, which need more steps, are no longer underrated.

    Progress is counted after the warm-up. All paths share one optimiser, so the rule is split: `factor` is what the
    learning rate is multiplied by, that of the largest network, and `weight` is what a path's loss is multiplied by,
    1 for the largest and less for all others. Their product is the rule, and both stay in [0, 1] to the last step.

    Args:
        space: whose smallest and largest networks are the ends of the scale, exactly.
        annealing: how long the training is.

    Raises:
        ConfigError: all networks of the space have as many parameters.

    Example:
        >>> from anybudget.spaces import UnifiedSettings, UnifiedSpace, stages
        >>> shapes = {"input_size": 8, "input_channels": 1, "classes": 3, "stem_width": 4}
        >>> space = UnifiedSpace(UnifiedSettings(**shapes, stages=stages((4, 2, 1))))
        >>> smallest = space.path_encoding(space.from_kernels([[3, 3], [3, 3]]))
        >>> rule = ComplexityRate(space, Annealing(steps=100))
        >>> rule.gamma(smallest)
        4.0
        >>> round(rule.factor(50) * rule.weight(smallest, 50), 6)
        0.0625

    Source: DYNAS (CVPR 2025), the complexity-aware learning-rate schedule.
    Differs: there every step trains one path with its own learning rate; here several paths may share an update, and
    the rule weighs their losses. Momentum is one buffer for all, and weight decay follows the largest network's rate.
    """

    def __init__(self, space: SearchSpace, annealing: Annealing) -> None:
        self._annealing = annealing
        self._space, self._params = space, build_costs(space, ("params",))["params"]
        low, high = extremes(self._params.terms)
        if low == high:
            raise ConfigError(
                f"supernet.complexity_rate: all networks of the space {space.name} have {low:,.0f} parameters, so none "
                "is more complex than another; leave it out"
            )
        self._low, self._width = math.log(low), math.log(high) - math.log(low)

    def gamma(self, path: PathEncoding) -> float:
        """The exponent of a path's network."""
        parameters = self._params.cost(self._space.canonical(path))
        share = min(1.0, max(0.0, (math.log(parameters) - self._low) / self._width))
        return _SMALLEST + (_LARGEST - _SMALLEST) * share

    def weight(self, path: PathEncoding, step: int) -> float:
        """What the path's loss is multiplied by in a step."""
        return float((1 - self._annealing.progress(step)) ** (self.gamma(path) - _LARGEST))

    def factor(self, step: int) -> float:
        """What the learning rate is multiplied by in a step."""
        return self._annealing.factor(step, lambda progress: float((1 - progress) ** _LARGEST))
