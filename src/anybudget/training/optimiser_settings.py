"""`OptimiserSettings`: by which rule weights move, and how the learning rate goes; declared here once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from anybudget.settings import Count, Images, Natural, NonNegative, Part, Rate, Settings

Fall = Literal["cosine", "linear", "exponential", "steps", "constant"]
"""How the learning rate falls after the warm-up."""


_FALLS_WITH: dict[str, tuple[Fall, ...]] = {
    "decay_rate": ("exponential", "steps"),
    "decay_epochs": ("exponential",),
    "milestones": ("steps",),
}
"""Keys that some ways of falling alone have."""


class OptimiserSettings(Settings):
    """The optimiser, and the learning rate of every step.

    `optimiser` is `sgd` or `adamw`, or the name of any other of timm's, such as `rmsprop-tf` or `lamb`. `momentum` is
    that of those that have one; others keep their own coefficients. `epsilon` is the optimiser's own where it is 0.
    Weight decay reaches norms and biases unless `decay_norms` is false.

    The learning rate rises to `learning_rate` over `warmup_epochs`, then falls: along half a `cosine` or a `linear`
    line to 0; `exponential`, by the factor `decay_rate` every `decay_epochs`, counted from the start; by `steps`, by
    that factor after each of the epochs `milestones`, two thirds and eleven twelfths of all where none are given; or it
    stays `constant`. With a `reference_batch` it is multiplied by `batch_size / reference_batch`.

    `clip_norm`, where it is not 0, is the greatest norm that the gradient of a step keeps.

    Source: Goyal et al. 2017, "Accurate, large minibatch SGD" (rates in proportion to the batch).
    """

    UNSAID: ClassVar[frozenset[str]] = frozenset(
        {
            "optimiser",
            "epsilon",
            "decay_norms",
            "annealing",
            "decay_rate",
            "decay_epochs",
            "milestones",
            "reference_batch",
            "clip_norm",
        }
    )

    batch_size: Images
    learning_rate: Rate
    momentum: Part = 0.9
    weight_decay: NonNegative = 4e-5
    nesterov: bool = False
    warmup_epochs: NonNegative = 0.0
    optimiser: Annotated[str, Field(pattern="^[a-z][a-z0-9_-]*$")] = "sgd"
    epsilon: NonNegative = 0.0
    decay_norms: bool = True
    annealing: Fall = "cosine"
    decay_rate: Annotated[float, Field(gt=0, le=1)] = 0.97
    decay_epochs: Annotated[float, Field(gt=0, le=1e6)] = 3.0
    milestones: list[Count] = Field(default=[])
    reference_batch: Natural = 0
    clip_norm: NonNegative = 0.0

    @property
    def rate(self) -> float:
        """The highest learning rate, scaled with the batch where that is asked for.

        Example:
            >>> OptimiserSettings(batch_size=512, learning_rate=0.1, reference_batch=256).rate
            0.2
        """
        return (
            self.learning_rate * self.batch_size / self.reference_batch if self.reference_batch else self.learning_rate
        )

    def problems(self, table: str) -> Iterator[str]:
        """See `Settings.problems`."""
        yield from super().problems(table)
        if self.nesterov and not self.momentum:
            yield f"{table}.nesterov: needs a momentum, and {table}.momentum is 0; set one above 0, or nesterov = false"
        if self.nesterov and self.optimiser != "sgd":
            yield (
                f"{table}.nesterov: belongs to SGD, and {table}.optimiser is {self.optimiser!r}; set nesterov = false, "
                'or optimiser = "sgd"'
            )
        if self.epsilon and self.optimiser == "sgd":
            yield f"{table}.epsilon: SGD has none; leave it out, or take another {table}.optimiser"
        for name, kinds in _FALLS_WITH.items():
            if name in self.model_fields_set and self.annealing not in kinds:
                yield (
                    f"{table}.{name}: the learning rate falls {self.annealing!r} ({table}.annealing); leave it out, "
                    f'or set annealing = "{kinds[0]}"'
                )
                break
        if self.milestones != sorted(set(self.milestones)):
            yield f"{table}.milestones: {self.milestones} have to rise; list each epoch once, in order"
