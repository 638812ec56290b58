"""The answer to whether a supernet is any good: its ranking beside that of an untrained one, as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from anybudget.architecture import Architecture
from anybudget.costs import build_costs
from anybudget.data import DataSource, largest_class_percent
from anybudget.errors import ConfigError
from anybudget.evaluation.evaluator import Evaluator
from anybudget.evaluation.metrics import Metrics
from anybudget.evaluation.ranking.correlation import FEWEST, Correlation, against, known, rank_correlation
from anybudget.evaluation.ranking.paths import PathRanking, rank_paths, sample_paths
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.nets import Supernet, build_supernet
from anybudget.nets.blocks import channels_last
from anybudget.runtime.process_state import seeded
from anybudget.runtime.progress import Progress, SilentProgress
from anybudget.runtime.workers import Workers

BASELINES = ("macs", "params")
"""What a supernet has to order networks better than."""


@dataclass(frozen=True)
class RankSettings(EvaluatorSettings):
    """How a ranking is measured; `seed` also draws networks, subsets and the untrained weights.

    Args:
        paths: how many random networks are scored; with 100, chance alone moves Kendall's tau by about 0.07.
        image_counts: sizes of subsets of the validation images, see `rank_paths`.
    """

    paths: int = 100
    image_counts: tuple[int, ...] = (100, 200, 500, 1000)


def rank_run(
    supernet: Supernet,
    data: DataSource,
    settings: RankSettings | None = None,
    *,
    retrained: Mapping[Architecture, float] | None = None,
    truth: Mapping[Architecture, float] | None = None,
    snapshots: Iterable[tuple[int, Supernet]] | None = None,
    progress: Progress | None = None,
    workers: Workers | None = None,
) -> dict[str, Any]:
    """How well a supernet orders random networks, beside an untrained supernet of the same space as a control.

    Args:
        supernet: the trained one.
        data: its splits; the test split is not used.
        settings: how it is measured; the defaults if not given.
        retrained: true accuracy in percent of networks of the space; they are scored too, if they are three or more.
        truth: a table of true accuracies in percent; those of the random networks are used.
        snapshots: the supernet as it was after some epochs, each with that epoch.
        progress: gets one task for each supernet.
        workers: what evaluates; this process if not given.

    Returns:
        `space`, `seed`, `paths`, `validation_images`, `validation_largest_class_percent`, `calibration_images`;
        `supernets`, with `trained` and `untrained`, each with `top1_percent` and `balanced_accuracy_percent` (`lowest`,
        `mean`, `highest` of the random networks), `rows` (`CountRow`), `retrained` and `truth` (`Agreement`, or None if
        there is nothing to compare with); and `baselines`, with `retrained` and `truth`: correlations of `macs` and
        `params` with the same accuracies, or None. A correlation has `kendall` and `spearman`, None where one side is
        constant. With `snapshots`, these, too: one for each, with its `epoch`, what a supernet has, and `trained_loss`,
        the correlation of its losses with those of the trained supernet. JSON can hold all of it.

    Raises:
        ConfigError: fewer than three paths, or a number of images below 2.
        DataError: `truth` knows fewer than three of the random networks.

    Source: GreedyNAS Table 3 and Fig. 4, which compare an untrained supernet, uniform and greedy training.
    """
    settings = settings or RankSettings()
    if settings.paths < FEWEST:
        raise ConfigError(f"{settings.paths} paths have no order to speak of; ask for at least {FEWEST}")
    retrained = retrained if retrained and len(retrained) >= FEWEST else None
    sampled = sample_paths(supernet.space, settings.paths, settings.seed)
    # First, since it fails where the truth is of other networks.
    baselines = {"retrained": _baselines(supernet, retrained, retrained), "truth": _baselines(supernet, truth, sampled)}
    asked = _Asked(data, settings, sampled, retrained, truth, progress or SilentProgress(), workers)
    trained, summary = asked.of("trained", supernet)
    over_training = []
    for epoch, net in snapshots or ():
        then, found = asked.of(f"epoch {epoch},", net)
        over_training.append({"epoch": epoch, **found, "trained_loss": asdict(_alike(then, trained))})
    return {
        "space": supernet.space.name,
        **asked.said(),
        "supernets": {"trained": summary, "untrained": asked.of("untrained", untrained(supernet, settings.seed))[1]},
        "baselines": baselines,
        **({} if snapshots is None else {"snapshots": over_training}),
    }


@dataclass(frozen=True)
class _Asked:
    """What every supernet is asked for: an order of random networks, and of those whose accuracies are known."""

    data: DataSource
    settings: RankSettings
    sampled: Sequence[Architecture]
    retrained: Mapping[Architecture, float] | None
    truth: Mapping[Architecture, float] | None
    progress: Progress
    workers: Workers | None

    def of(self, name: str, net: Supernet) -> tuple[PathRanking, dict[str, Any]]:
        """How a supernet orders them, and that summed up."""
        evaluator = Evaluator(net, self.data, self.settings, workers=self.workers)
        counts, others = self.settings.image_counts, list(self.retrained or ())
        subsets = sum(count < len(self.data.validation) for count in set(counts))
        with self.progress.task(f"rank, {name} supernet", len(self.sampled) * (1 + subsets) + len(others)) as task:
            ranking = rank_paths(evaluator, self.data, self.sampled, counts, seed=self.settings.seed, task=task)
            alone = dict(zip(others, evaluator.scores(others, task), strict=True)) if others else {}
        return ranking, _summary(ranking, alone, self.retrained, self.truth)

    def said(self) -> dict[str, Any]:
        """What it is, as plain data."""
        return {
            "seed": self.settings.seed,
            "paths": len(self.sampled),
            "validation_images": len(self.data.validation),
            "validation_largest_class_percent": largest_class_percent(self.data.validation.labels),
            "calibration_images": self.settings.calibration_images,
        }


def untrained(supernet: Supernet, seed: int) -> Supernet:
    """A freshly initialised supernet of the same space on the same device; torch's random state stays as it was."""
    with seeded(seed):
        fresh = build_supernet(supernet.space)
    return channels_last(fresh.to(next(supernet.parameters()).device)).eval()


def _summary(
    ranking: PathRanking,
    alone: Mapping[Architecture, Metrics],
    retrained: Mapping[Architecture, float] | None,
    truth: Mapping[Architecture, float] | None,
) -> dict[str, Any]:
    """What is said of one supernet."""
    scores = ranking.scores.values()
    return {
        "top1_percent": _span([score.top1_percent for score in scores]),
        "balanced_accuracy_percent": _span([score.balanced_accuracy_percent for score in scores]),
        "rows": [asdict(row) for row in ranking.rows],
        "retrained": None if retrained is None else asdict(against(alone, retrained)),
        "truth": None if truth is None else asdict(against(ranking.scores, truth)),
    }


def _alike(one: PathRanking, other: PathRanking) -> Correlation:
    """How alike two supernets order the same networks, by loss on all images."""
    return rank_correlation(*([score.loss for score in ranking.scores.values()] for ranking in (one, other)))


def _span(values: Sequence[float]) -> dict[str, float]:
    return {"lowest": min(values), "mean": float(np.mean(values)), "highest": max(values)}


def _baselines(
    supernet: Supernet, truth: Mapping[Architecture, float] | None, architectures: Iterable[Architecture] | None
) -> dict[str, Any] | None:
    """How well the size of a network alone orders those whose accuracy is known."""
    if truth is None or architectures is None:
        return None
    common = known(architectures, truth)
    true = [truth[architecture] for architecture in common]
    return {
        name: asdict(rank_correlation([model.cost(architecture) for architecture in common], true))
        for name, model in build_costs(supernet.space, BASELINES).items()
    }
