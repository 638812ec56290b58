"""Stage `latency`: measure what was found within budgets on latencies, in a process of its own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs.latency import LatencyCost
from anybudget.errors import ConfigError
from anybudget.latency.blocks import Blocks
from anybudget.latency.measuring import measure_as, runtime_of
from anybudget.latency.runtimes import Runtime
from anybudget.runs.answers import read_answers
from anybudget.runs.context import RunContext
from anybudget.runtime.rounds import Measured, Rounds
from anybudget.storage.records import MeasuredLatency, checked

log = logging.getLogger(__name__)

FILE = "latency.jsonl"


def limits_latency(run: RunContext) -> bool:
    """Whether a budget of the recipe limits a measured latency."""
    limited = {budget.cost for budgets in run.recipe.budget_sets() for budget in budgets}
    return any(isinstance(run.costs[cost], LatencyCost) for cost in limited)


def measure_answers(run: RunContext) -> list[MeasuredLatency]:
    """Measure the last answer to each budget set that limits a latency; writes `latency.jsonl`.

    Answers on a latency of another processor, or of a runtime that is not here, are left out, and it is said why.
    """
    answers = {budgets: answer.architecture for budgets, answer in read_answers(run)}
    found: list[MeasuredLatency] = []
    with run.stage("latency"):
        for cost in run.costs.values():
            if isinstance(cost, LatencyCost):
                asked = {b: a for b, a in answers.items() if cost.name in b.limits()}
                runtime = _runtime(cost) if asked else None
                if runtime is not None:
                    measured = _measure(run, cost, runtime, list(dict.fromkeys(asked.values())))
                    found += [_row(cost, budgets, a, *measured[a]) for budgets, a in asked.items()]
        run.replace("latency")
        run.folder.write_lines(FILE, [row.to_json() for row in found])
    return found


def _runtime(cost: LatencyCost) -> Runtime | None:
    """What measures a cost here; None, saying why, where nothing can."""
    try:
        return runtime_of(cost.profile)
    except ConfigError as error:
        log.warning("%s: answers are not measured here: %s", cost.name, error)
        return None


def _measure(
    run: RunContext, cost: LatencyCost, runtime: Runtime, architectures: Sequence[Architecture]
) -> dict[Architecture, tuple[float, Measured]]:
    """The latency of networks in ms, and how calm it was."""
    plan = Rounds(seed=run.recipe.seed)
    with run.progress.task(f"measure {cost.name}", len(architectures) * (plan.visits + 1)) as task:
        found = measure_as(cost.profile, Blocks(run.space, runtime), architectures, plan, task)
    values = [getattr(times, cost.quantity) for times in found.times]
    return {architecture: (value, found) for architecture, value in zip(architectures, values, strict=True)}


def _row(
    cost: LatencyCost, budgets: BudgetSet, architecture: Architecture, measured_ms: float, found: Measured
) -> MeasuredLatency:
    return checked(
        {
            "cost": cost.name,
            "budgets": budgets.limits(),
            "architecture": architecture,
            "quantity": cost.quantity,
            "promise": cost.promise,
            "limit_ms": budgets.limits()[cost.name],
            "promised_ms": cost.cost(architecture),
            "predicted_ms": cost.predicted(architecture),
            "measured_ms": measured_ms,
            "calm": found.calm,
            "processor": cost.profile.device.processor,
            "running": str(cost.profile.running),
            "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        MeasuredLatency,
        FILE,
    )
