"""Stage `health`: whether the supernet is a judge, by a few networks that are trained alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.evaluation.evaluator import Evaluator
from anybudget.evaluation.ranking import sample_paths
from anybudget.runs.context import RunContext
from anybudget.runs.judging import evaluator_settings, scored_data
from anybudget.runs.stages.baseline import same_cost
from anybudget.runs.trainings import Training, train_each
from anybudget.runs.work import Work
from anybudget.search.base import exact_costs
from anybudget.storage.records import Health, checked
from anybudget.worth.halves import HalfScores, check_halves, score_halves
from anybudget.worth.health import (
    POOL,
    HealthSettings,
    Judgement,
    PoolHealth,
    TrainedNetworks,
    Values,
    floors_of,
    judge,
    pool_health,
    spread_over,
)
from anybudget.worth.verdict import Findings, verdict

Pools = dict[BudgetSet | None, list[Architecture]]
"""Random networks by the budgets that they have about the cost of; by None those of the whole space."""

RECALIBRATED = 30
"""How many networks of a pool are scored once more, calibrated on other images."""


@dataclass(frozen=True, eq=False)
class _Order:
    """Networks of one kind: what the supernet says of all, and the places of those that are trained, best first."""

    budgets: BudgetSet | None
    pool: Sequence[Architecture]
    scores: HalfScores
    health: PoolHealth
    places: Sequence[int]

    @property
    def chosen(self) -> list[Architecture]:
        return [self.pool[place] for place in self.places]

    def judged(self, run: RunContext, top1: Values) -> Judgement:
        """How well the supernet orders those that were trained, by their test top-1 [n, seeds]."""
        places = list(self.places)
        floors = floors_of(run.space, run.costs, self.chosen)
        return judge(TrainedNetworks(self.scores.loss[places], self.scores.top1[places], floors, top1))


def health(run: RunContext, settings: HealthSettings | None = None) -> dict[str, Any]:
    """Say whether the supernet is a judge; writes `health.json`.

    Random networks, of equal cost and of the whole space, are scored by the supernet. Some of each, spread over its
    order, are trained alone, and its scores are compared with their test top-1.

    Args:
        run: the run, whose supernet is trained.
        settings: how many networks are trained, and how; the defaults if not given.

    Returns:
        What `storage.records.Health` describes.

    Raises:
        ConfigError: there are fewer networks than are asked for, or too few validation images.
        BudgetError: the budgets cannot be met.
        Stopped: asked to stop; what was scored and trained is saved.
    """
    settings = settings or HealthSettings()
    budgets = settings.budgets or _middle(run)
    run.check_budgets([budgets])
    validation = scored_data(run.recipe, run.data).validation
    check_halves(len(validation), run.data.classes)
    pools: Pools = {budgets: _of_equal_cost(run, settings, budgets), None: _of_the_space(run, settings)}
    with run.evaluating("health") as work:
        equal, whole = _scored(run, work, settings, pools)
        trained = _trained(run, settings, [equal, whole])
        judged = equal.judged(run, trained[0]), whole.judged(run, trained[1])
        found = {
            "space": run.space.name,
            "seed": run.recipe.seed,
            "seeds": settings.seeds,
            "epochs": settings.epochs or run.recipe.retrain.epochs,
            "validation_images": len(validation),
            "calibration_images": run.recipe.search.calibration_images,
            "equal_cost": _described(run, equal, judged[0], trained[0]),
            "whole_space": _described(run, whole, judged[1], trained[1]),
            "verdict": asdict(verdict(Findings(str(budgets), judged[0], equal.health, judged[1]))),
        }
        run.folder.write_result("health.json", checked(found, Health, "health.json").to_json())
    return found


def _middle(run: RunContext) -> BudgetSet:
    budget_sets = run.recipe.budget_sets()
    return budget_sets[len(budget_sets) // 2]


def _of_equal_cost(run: RunContext, settings: HealthSettings, budgets: BudgetSet) -> list[Architecture]:
    drawn = same_cost(run, budgets).sample(max(POOL, settings.networks), np.random.default_rng(run.recipe.seed))
    window = f"the window of {budgets} (search.random_window {run.recipe.search.random_window:g}, --budget)"
    settings.check_there(len(drawn), window)
    return drawn


def _of_the_space(run: RunContext, settings: HealthSettings) -> list[Architecture]:
    drawn = sample_paths(run.space, max(POOL, settings.networks), run.recipe.seed)
    settings.check_there(len(drawn), f"the {run.space.name} space of this recipe")
    return drawn


def _scored(run: RunContext, work: Work, settings: HealthSettings, pools: Pools) -> list[_Order]:
    """What the supernet says of the networks of every pool."""
    evaluator, other = run.new_evaluator(), _recalibrating(run)
    again = {budgets: pool[: RECALIBRATED if other else 0] for budgets, pool in pools.items()}
    total = sum(map(len, (*pools.values(), *again.values())))
    seed, scored, recalibrated = run.recipe.seed, work.journal("scores"), work.journal("recalibrated")
    orders = []
    with run.progress.task("health: scores", total) as task:
        for budgets, pool in pools.items():
            scores = score_halves(evaluator, pool, seed=seed, journal=scored, task=task)
            steady = None
            if other is not None:
                steady = score_halves(other, again[budgets], seed=seed, journal=recalibrated, task=task)
            places = spread_over(scores.loss, settings.networks)
            orders.append(_Order(budgets, pool, scores, pool_health(scores, steady), places))
    return orders


def _recalibrating(run: RunContext) -> Evaluator | None:
    """An evaluator that calibrates on other images; None where there is no calibration, or there are no others."""
    count = run.recipe.search.calibration_images
    if not 0 < count < len(run.data.train):
        return None
    settings = evaluator_settings(run.recipe, run.recipe.seed + 1)
    return Evaluator(run.supernet, scored_data(run.recipe, run.data), settings, workers=run.workers)


def _trained(run: RunContext, settings: HealthSettings, orders: Sequence[_Order]) -> list[Values]:
    """Test top-1 in percent of the chosen networks of every order, [networks, seeds]; one seed after the other."""
    trainings = [
        Training(architecture, run.recipe.seed + seed, settings.epochs)
        for seed in range(settings.seeds)
        for order in orders
        for architecture in order.chosen
    ]
    results = train_each(run, trainings, "health: trainings")
    table = np.array([result.test_top1_percent for result in results], dtype=np.float64)
    return list(table.reshape(settings.seeds, len(orders), settings.networks).transpose(1, 2, 0))


def _described(run: RunContext, order: _Order, judgement: Judgement, top1: Values) -> dict[str, Any]:
    """An order as the record has it."""
    networks = [
        {
            "architecture": order.pool[place].to_dict(),
            "costs": exact_costs(run.costs, order.pool[place]),
            "supernet_loss": float(order.scores.loss[place]),
            "supernet_top1_percent": float(order.scores.top1[place]),
            "test_top1_percent": row.tolist(),
        }
        for place, row in zip(order.places, top1, strict=True)
    ]
    return {
        "budgets": order.budgets.limits() if order.budgets else {},
        "pool": asdict(order.health),
        "judgement": asdict(judgement),
        "networks": networks,
    }
