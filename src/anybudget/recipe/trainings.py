"""The sections of a recipe that say how something is trained: `[supernet]`, `[generator]` and `[retrain]`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from anybudget.errors import shown
from anybudget.generator.settings import GeneratorSchedule
from anybudget.recipe.registered import registered, table_of
from anybudget.runtime.batch_parts import batch_problem
from anybudget.settings import Channels, Count, Natural, Settings
from anybudget.spaces.blocks import ActivationName
from anybudget.training import SAMPLERS
from anybudget.training.distillation_settings import TeacherSettings
from anybudget.training.settings import Schedule, SupernetSchedule

Inherit = bool | Literal["try"]
"""Whether a training starts from weights that are there; with "try" a trial says whether."""

TRIAL_PART = 4
"""The trial of `retrain.inherit` = "try" has this part of the epochs."""


class TrainingSection(Schedule):
    """What the sections of supernet training and retraining have beside the schedule.

    `rollbacks` is how often a loss that is not finite may send training back to the start of its epoch with half the
    learning rate.
    """

    rollbacks: Natural = 0

    def misfits(self, table: str, image_size: int, processes: int) -> Iterator[str]:
        """What in the table cannot be done to images of so many pixels, or by so many processes."""
        problem = batch_problem(self.batch_size, processes, self.accumulate, self.batch_shares, section=table)
        if problem:
            yield problem
        if self.crop_padding >= image_size:
            yield (
                f"{table}.crop_padding: {self.crop_padding} pixels around images of {image_size} (space.input_size) "
                "would give crops without any image; take fewer"
            )


class SupernetSection(TrainingSection, SupernetSchedule):
    """`[supernet]`: how the shared weights are trained.

    The `sampler` is the name of a registered path sampler, whose settings are in `[supernet.NAME]`. After every
    `snapshots` epochs the weights are kept, see `runs.snapshots`; 0 keeps none.
    """

    UNSAID: ClassVar[frozenset[str]] = SupernetSchedule.UNSAID | {"snapshots"}

    sampler: Annotated[str, registered(SAMPLERS)] = "fair"
    snapshots: Natural = 0

    @property
    def sampler_settings(self) -> Settings:
        """The settings of the sampler: its table, or its defaults."""
        return table_of(self, SAMPLERS[self.sampler].settings_type, self.sampler)

    def problems(self, table: str) -> Iterator[str]:
        """See `Settings.problems`."""
        yield from super().problems(table)
        if self.paths_per_step == "round" and not SAMPLERS[self.sampler].has_rounds:
            yield (
                f'{table}.paths_per_step: "round" needs a sampler with rounds, and {shown(self.sampler)} draws paths '
                f"one at a time; give a number of paths, or another {table}.sampler"
            )
        if self.snapshots > self.epochs:
            yield (
                f"{table}.snapshots: weights are to be kept after every {self.snapshots} epochs, and {table}.epochs "
                f"are {self.epochs}; take fewer, or 0 to keep none"
            )


class GeneratorSection(GeneratorSchedule):
    """`[generator]`: how the architecture generator is built and trained; it is conditioned on `cost`.

    With `priors = "fixed"` all budgets have one prior, drawn from the recipe's seed, in training and when it is asked;
    with "random" each has one of its own.
    """

    UNSAID: ClassVar[frozenset[str]] = GeneratorSchedule.UNSAID | {"priors"}

    cost: str = "macs"
    hidden: Channels = 32
    random_prior: bool = True
    priors: Literal["random", "fixed"] = "random"
    rollbacks: Natural = 0

    def problems(self, table: str) -> Iterator[str]:
        """See `Settings.problems`."""
        yield from super().problems(table)
        if self.priors == "fixed" and not self.random_prior:
            yield (
                f'{table}.priors: "fixed" is one prior of a random architecture, and {table}.random_prior = false has '
                "none of architectures; leave out one of the two"
            )


class RetrainSection(TrainingSection):
    """`[retrain]`: which found networks are trained, and how; `picks` are positions in `search.budgets` from 1.

    `activation` and `se_reduction` change the network that is trained (see `anybudget.spaces.derive`): it is no longer
    the one that was searched, has no inherited weights, and may cost more than was asked for.

    With `inherit` the training starts from weights that are there, those of the race or the supernet's, else from new
    ones. With `inherit` = "try" a trial says which: new weights are trained for a quarter of the epochs, and if the
    inherited ones as they are do better on the validation images, the training starts from these.

    `data` says what is trained on: the training split, or that and the validation split; the test split stays apart.
    A network may have a `teacher`, see `TeacherSettings`.
    """

    UNSAID: ClassVar[frozenset[str]] = TrainingSection.UNSAID | {"data", "teacher"}

    picks: list[Count] = Field(default=[])
    inherit: Inherit = False
    activation: Literal[ActivationName, ""] = ""
    se_reduction: Natural = 0
    data: Literal["train", "train+validation"] = "train"
    teacher: TeacherSettings = TeacherSettings()

    @property
    def trial_epochs(self) -> int:
        """Epochs of the trial that says which weights to start from; 0 if there is none."""
        return -(-self.epochs // TRIAL_PART) if self.inherit == "try" else 0

    def trial(self) -> Schedule:
        """How the trial trains: as the retraining, in fewer epochs."""
        shorter = self.trial_epochs / self.epochs
        update = {"epochs": self.trial_epochs, "warmup_epochs": self.warmup_epochs * shorter}
        return self.model_copy(update=update)
