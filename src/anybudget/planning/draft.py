"""A recipe put together by the rules: every value with its reason, as plain data, and as a commented file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from anybudget.planning import images as rules
from anybudget.planning.choice import Choice
from anybudget.planning.lengths import SUPERNET_SHARE, Lengths, generator_batch, generator_epochs
from anybudget.planning.networks import Outline, space_table
from anybudget.planning.profile import DataProfile
from anybudget.planning.workload import Images

Tables = dict[str, dict[str, Choice[Any]]]
"""The tables of a recipe by their names, "" for the keys above all tables."""

CALIBRATION = 512
"""Images that calibrate norms, as in the demo."""


@dataclass(frozen=True, slots=True)
class Draft:
    """All that decides a recipe.

    Args:
        name: of the run.
        source: of the data, as the recipe names them.
        device: as asked for.
        hours: of the whole run.
        profile: of the data.
        size: of the images, in pixels.
        width: what all widths are multiplied by.
        budgets: what is asked for.
        lengths: how long the trainings are.
    """

    name: str
    source: str
    device: str
    hours: float
    profile: DataProfile
    size: Choice[int]
    width: Choice[int]
    budgets: Choice[list[str]]
    lengths: Lengths

    @property
    def outline(self) -> Outline:
        """Of the networks."""
        return Outline(self.size.value, self.width.value)

    def with_lengths(self, lengths: Lengths) -> Draft:
        """The same with trainings of other lengths."""
        return replace(self, lengths=lengths)

    @property
    def images(self) -> Images:
        """How many images each split has, with the fractions that are chosen here; about, since classes are rounded."""
        profile = self.profile
        counts, shipped = dict(profile.counts), profile.shipped_training
        for split in profile.drawn:
            counts[split] = round(rules.split_fraction(split, shipped).value * shipped)
        train = shipped - sum(counts[split] for split in profile.drawn)
        return Images(train, counts["validation"], counts["test"])

    def tables(self) -> Tables:
        """Every value of the recipe with its reason."""
        training = self._training()
        found: Tables = {
            "": {"name": Choice(self.name, "that of the data")},
            "data": self._data(),
            "space": space_table(self.outline, self.size, self.width, self.profile.channels, self.profile.classes),
            "supernet": {
                "sampler": Choice("uniform", "the demo's: single paths, the cheapest steps"),
                "epochs": Choice(self.lengths.supernet, f"{SUPERNET_SHARE:g} for each of retraining, as in the demo"),
                **training,
                "rollbacks": Choice(
                    2, "after a loss that is no number, back an epoch at half the rate: nobody watches"
                ),
            },
            "generator": self._generator(),
            **self._search(),
            "retrain": {
                "epochs": Choice(
                    self.lengths.retrain,
                    f"what fits into {self.hours:g} h, by steps timed on this machine",
                ),
                **training,
                "rollbacks": Choice(2, "as for the supernet"),
                "inherit": Choice("try", "from the supernet's weights where a short trial says that they are better"),
                "picks": Choice(
                    list(range(1, len(self.budgets.value) + 1)), "every answer becomes a network that can be used"
                ),
            },
        }
        if self.device != "auto":
            found[""]["device"] = Choice(self.device, "as asked for")
        return found

    def _data(self) -> dict[str, Choice[Any]]:
        found: dict[str, Choice[Any]] = {"source": Choice(self.source, "as asked for; absolute, for any folder")}
        for split in ("validation", "test"):
            if split in self.profile.drawn:
                found[f"{split}_fraction"] = rules.split_fraction(split, self.profile.shipped_training)
        return found

    def _training(self) -> dict[str, Choice[Any]]:
        """What the supernet and networks of their own have in common."""
        batch, balance = rules.batch_size(self.images.train), rules.class_balance(self.profile.imbalance)
        return {
            "batch_size": batch,
            "learning_rate": rules.learning_rate(batch.value),
            "crop_padding": rules.crop_padding(self.size.value),
            "flip": rules.flip(),
            **({} if balance is None else {"class_balance": balance}),
        }

    def _generator(self) -> dict[str, Choice[Any]]:
        validation, balance = self.images.validation, rules.class_balance(self.profile.imbalance)
        return {
            "cost": Choice("macs", "multiply-adds, which every network has"),
            "epochs": Choice(
                generator_epochs(validation, self.lengths.generator_steps),
                f"about {self.lengths.generator_steps} steps on {validation:,} validation images; the demo's are 140",
            ),
            "batch_size": Choice(generator_batch(validation), "the demo's 128, or a quarter of the validation images"),
            "networks_per_step": Choice(2, "the demo's"),
            **({} if balance is None else {"class_balance": balance}),
        }

    def _search(self) -> Tables:
        metric = rules.metric(self.profile.imbalance)
        images = min(CALIBRATION, self.images.train)
        return {
            "search": {
                "budgets": self.budgets,
                **({} if metric is None else {"metric": metric}),
                "calibration_images": Choice(images, "the demo's 512, or all that there are"),
                "random_baseline": Choice(self.lengths.baseline, "random networks, for the report's picture"),
            },
            "search.generator": {
                "priors": Choice(8, "the demo's"),
                "candidates": Choice(self.lengths.judged, "judged: up to the demo's 64, fewer in short time"),
            },
            "search.race": {
                "enabled": Choice(True, "trainings of their own tell the best networks apart; a supernet does not"),
                "start": Choice("scratch", "as [retrain] trains them"),
                "candidates": Choice(self.lengths.racers, "up to the demo's 16, fewer where time is short"),
                "epochs_per_round": Choice(self.lengths.round_epochs, "an eighth of retraining, as in the demo"),
                **({} if metric is None else {"by": Choice("metric", "as [search] compares networks")}),
            },
        }


def plain(tables: Mapping[str, Mapping[str, Choice[Any]]]) -> dict[str, Any]:
    """The recipe as plain data."""
    found: dict[str, Any] = {}
    for name, table in tables.items():
        inner = found
        for part in filter(None, name.split(".")):
            inner = inner.setdefault(part, {})
        inner |= {key: choice.value for key, choice in table.items()}
    return found
