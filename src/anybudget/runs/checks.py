"""What a recipe asks for, checked before hours of training: what is missing, unknown or out of reach is said."""

from __future__ import annotations

from anybudget.data.image_transforms import check_policy
from anybudget.errors import ConfigError
from anybudget.evaluation.metrics import check_metric
from anybudget.generator.interval import TrainedInterval
from anybudget.recipe import Recipe
from anybudget.runs.context import RunContext
from anybudget.runs.loggers import check_loggers
from anybudget.runs.teaching import largest
from anybudget.spaces.blocks import InvertedBottleneckSpec
from anybudget.training.distillation import check_teacher
from anybudget.training.optimisers import check_optimiser


def check_recipe(run: RunContext) -> None:
    """Check what a whole run is asked for.

    Raises:
        BudgetError: a budget of the recipe cannot be met.
        ConfigError: the generator's cost, where it is asked for, the metric or a training cannot be used.
    """
    recipe = run.recipe
    run.check_budgets(recipe.budget_sets())
    run.check_cost(recipe.strategy)
    interval = TrainedInterval.of(recipe.generator)
    if recipe.strategy.needs_generator and not interval.whole:
        terms = {name: model.terms for name, model in run.costs.items()}
        for budget_set in recipe.budget_sets():  # one that it is not trained for is said before hours of work
            interval.position(terms, run.cost.name, budget_set)
    check_metric(recipe.search.metric, run.space.classes)
    check_trainings(recipe)
    check_loggers(recipe.logger)
    _check_drop_path(run)


def check_trainings(recipe: Recipe) -> None:
    """Check optimisers, policies of augmentation, and the teacher.

    Raises:
        ConfigError: one of them cannot be used; names the key and what to install or give.
    """
    for name, schedule in (("supernet", recipe.supernet), ("retrain", recipe.retrain)):
        check_optimiser(schedule, name)
        if schedule.auto_augment:
            check_policy(schedule.auto_augment, f"{name}.auto_augment")
    check_teacher(recipe.retrain.teacher)


def _check_drop_path(run: RunContext) -> None:
    """Check that there are blocks to drop, if some are to be dropped."""
    blocks = run.space.block_specs(largest(run)) if run.recipe.retrain.drop_path else ()
    if blocks and not any(isinstance(block, InvertedBottleneckSpec) and block.residual for block in blocks):
        raise ConfigError(
            f"retrain.drop_path: not even the largest network of the space {run.space.name} has a residual inverted "
            "bottleneck that could be dropped; leave it out"
        )
