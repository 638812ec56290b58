"""`Workload`: how much work each stage of a recipe is, in steps and networks; no clock is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from anybudget.recipe import Recipe

JUDGED: Mapping[str, Callable[[Any], int]] = {
    "generator": lambda settings: settings.candidates,
    "refined": lambda settings: settings.candidates + settings.rounds * settings.per_round,
    "random": lambda settings: settings.count,
    "evolution": lambda settings: settings.generations * settings.population,
    "nsga2": lambda settings: settings.generations * settings.population,
    "linear": lambda settings: settings.samples + settings.candidates,
}
"""How many networks a strategy judges for a budget set, at most, by its settings."""


@dataclass(frozen=True, slots=True)
class Images:
    """How many images a run has in each split."""

    train: int
    validation: int
    test: int


@dataclass(frozen=True, slots=True)
class Workload:
    """The work of a recipe: steps of each training, and networks that are judged.

    `judged` is for all budgets together, None for a strategy of which nobody knows. `race` has, for each round, how
    many networks run it for each budget; a round has `round_steps`, a retraining `retrain_steps`, and before that
    perhaps a trial of `trial_steps`. `compared` are trainings of the stage `worth`.
    """

    supernet_steps: int
    supernet_images: int
    generator_steps: int
    generator_images: int
    judged: int | None
    baseline: int
    race: tuple[tuple[int, ...], ...]
    round_steps: int
    retrain_steps: int
    trial_steps: int
    batch: int
    picks: tuple[int, ...]
    compared: int

    @property
    def raced(self) -> int:
        """Rounds of networks, for all budgets together; what budgets share counts for each."""
        return sum(map(sum, self.race))

    def shared(self, budget: int) -> Workload:
        """The least work that budgets can leave: all have the candidates and the answer of one, by its place from 0."""
        race = tuple(tuple(count * (place == budget) for place, count in enumerate(counts)) for counts in self.race)
        return replace(self, race=race, picks=(budget,) if self.picks else ())

    def images_trained(self) -> dict[str, int]:
        """Images that each stage trains on, repeated ones included."""
        return {
            "supernet": self.supernet_images,
            "generator": self.generator_images,
            "race": self.raced * self.round_steps * self.batch,
            "retrain": len(self.picks) * (self.trial_steps + self.retrain_steps) * self.batch,
            "worth": self.compared * self.retrain_steps * self.batch,
        }


def workload_of(recipe: Recipe, images: Images) -> Workload:
    """The work of a recipe on data with so many images."""
    supernet, generator, search, retrain = recipe.supernet, recipe.generator, recipe.search, recipe.retrain
    budgets = len(search.budgets)
    steps = supernet.epochs * per_epoch(images.train, supernet.batch_size)
    paths = 1 if supernet.share_batch or supernet.paths_per_step == "round" else supernet.paths_per_step
    generator_steps = generator.epochs * per_epoch(images.validation, generator.batch_size)
    asked = recipe.strategy.needs_generator
    judged = JUDGED.get(search.strategy)
    settings = search.settings_of(recipe.strategy, search.strategy)
    batch = min(retrain.batch_size, images.train)
    retrained = images.train + (images.validation if retrain.data == "train+validation" else 0)
    return Workload(
        supernet_steps=steps,
        supernet_images=steps * paths * min(supernet.batch_size, images.train),
        generator_steps=generator_steps if asked else 0,
        generator_images=generator_steps * min(generator.batch_size, images.validation) if asked else 0,
        judged=None if judged is None else budgets * judged(settings),
        baseline=budgets * search.random_baseline,
        race=halving(search.race.candidates, budgets) if search.race.enabled else (),
        round_steps=max(1, round(search.race.epochs_per_round * per_epoch(images.train, retrain.batch_size))),
        retrain_steps=retrain.epochs * per_epoch(retrained, retrain.batch_size),
        trial_steps=retrain.trial_epochs * per_epoch(images.train, retrain.batch_size),
        batch=batch,
        picks=tuple(pick - 1 for pick in retrain.picks),
        compared=_compared(recipe),
    )


def per_epoch(images: int, batch: int) -> int:
    """Steps of an epoch: a last batch that is incomplete is left out, unless it is the only one."""
    return max(1, images // batch)


def halving(candidates: int, budgets: int) -> tuple[tuple[int, ...], ...]:
    """How many networks run each round of a race of so many, for each of some budgets.

    Example:
        >>> halving(5, 2)
        ((5, 5), (3, 3), (2, 2))
    """
    rounds: list[tuple[int, ...]] = []
    left = candidates
    while left > 1 or not rounds:
        rounds.append((left,) * budgets)
        left = (left + 1) // 2
    return tuple(rounds)


def _compared(recipe: Recipe) -> int:
    """Trainings of the stage `worth`: random networks, the answer, the plain one, and the supernet's first."""
    worth = recipe.worth
    if not worth.random:
        return 0
    budgets = len(worth.picks) or len(recipe.search.budgets)
    return budgets * worth.seeds * (worth.random + (3 if worth.scored else 2))
