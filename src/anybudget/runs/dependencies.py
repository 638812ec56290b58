"""What the results of each stage depend on: keys of the recipe, and results of earlier stages; said once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anybudget.search import STRATEGIES
from anybudget.search.race_settings import UNUSED
from anybudget.training.settings import Schedule

TRAINED = ("seed", "precision", "data", "space", "supernet")
SCORED = (
    *TRAINED,
    "search.calibration_images",
    "search.balanced_calibration",
    "search.balanced_validation",
)
ANSWERED = (
    *SCORED,
    "costs",
    "generator",
    "search.metric",
    "search.budgets",
    "search.strategy",
    "search.generator",
    "search.min_use",
    "search.race.enabled",
)
RACED = ("search.race", *(f"retrain.{name}" for name in (*Schedule.model_fields, "rollbacks") if name not in UNUSED))
"""What answers depend on besides, where networks race: how these are trained."""

DEPENDS: Mapping[str, tuple[str, ...]] = {
    "supernet": TRAINED,
    "generator": (*TRAINED, "generator"),
    "search": ANSWERED,
    "random": (*SCORED, "costs", "search.budgets", "search.random_baseline", "search.random_window"),
    "retrain": (*ANSWERED, "retrain"),
    "latency": ANSWERED,
    "worth": (*ANSWERED, "retrain", "search.random_window", "worth"),
}
"""Keys, or tables with all of their keys, by stage. A key of none (`name`, `search.evolution`) changes no stage.

So for the generator as the strategy of a run; see `depends` for others.
"""

READS: Mapping[str, tuple[str, ...]] = {
    "supernet": (),
    "generator": ("supernet",),
    "search": ("supernet", "generator"),
    "random": ("supernet",),
    "retrain": ("search",),
    "latency": ("search",),
    "worth": ("search",),
}
"""The stages in the order they run, and the earlier stages whose results each reads."""

LOADED_FROM: Mapping[str, tuple[str, ...]] = {"supernet": ("supernet", "evaluator"), "generator": ("generator",)}
"""The parts of a context that are loaded from the files of a stage."""

SCORED_FILES = (
    "candidates.jsonl",
    "random.jsonl",
    "search/*.jsonl",
    "compare.json",
    "rank.json",
    "health.json",
    "worth.json",
)
"""Files with scores of the supernet's weights: no longer of this run once these are replaced."""

WEIGHTS = ("supernet", "generator")
"""Stages whose results would be replaced if they ran again; those of the others are added to what is there."""


def depends(strategy: str) -> Mapping[str, tuple[str, ...]]:
    """`DEPENDS` of a run that searches with this strategy: answers depend on its table, and on what it asks alone."""
    kind, own = STRATEGIES[strategy], f"search.{strategy}"
    asked = ("generator",) if kind.needs_generator else ("generator.cost",) if kind.conditioned else ()
    others = {"generator", "search.generator"}
    return {
        stage: (*(key for key in keys if key not in others), *asked, own) if set(ANSWERED) <= set(keys) else keys
        for stage, keys in DEPENDS.items()
    }


def later(stage: str, strategy: str = "generator") -> list[str]:
    """The stages that read the results of this one, directly or through others, in the order they run."""
    found = {stage}
    for other, read in READS.items():
        unread = set() if STRATEGIES[strategy].needs_generator else {"generator"}
        if found & (set(read) - unread):
            found.add(other)
    return [other for other in READS if other in found - {stage}]


def affected(
    changed: Sequence[str], cost: str, *, raced: bool = False, strategy: str = "generator"
) -> dict[str, list[str]]:
    """The stages that depend on changed keys, and which these are.

    Args:
        changed: lines such as `differences` gives.
        cost: the one that the generator is conditioned on, which depends on its table alone.
        raced: whether networks race at the end of a search.
        strategy: what the run searches with.
    """
    found: dict[str, list[str]] = {}
    for stage, always in depends(strategy).items():
        keys = (*always, f"costs.{cost}") if stage == "generator" else always
        if raced and "search.race.enabled" in always:
            keys = (*keys, *RACED)
        lines = [line for line in changed if any(_is_within(line.partition(":")[0], key) for key in keys)]
        if lines:
            found[stage] = lines
    return found


def _is_within(key: str, table: str) -> bool:
    return key == table or key.startswith(f"{table}.")
