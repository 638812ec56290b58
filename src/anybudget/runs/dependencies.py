"""Which keys of a recipe the results of each stage depend on: said once, so that what did not change is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

TRAINED = ("seed", "precision", "data", "space", "supernet")
SCORED = (*TRAINED, "search.calibration_images")
ANSWERED = (
    *SCORED,
    "generator",
    "search.metric",
    "search.budgets",
    "search.priors",
    "search.candidates",
    "search.min_use",
)

DEPENDS: Mapping[str, tuple[str, ...]] = {
    "supernet": TRAINED,
    "generator": (*TRAINED, "generator"),
    "search": ANSWERED,
    "random": (*SCORED, "search.budgets", "search.random_baseline", "search.random_window"),
    "retrain": (*ANSWERED, "retrain"),
}
"""Keys, or tables with all of their keys, by stage. A key of none (`name`, `search.evolution`) changes no stage."""

WEIGHTS = ("supernet", "generator")
"""Stages whose results would be replaced if they ran again; those of the others are added to what is there."""


def affected(changed: Sequence[str]) -> dict[str, list[str]]:
    """The stages that depend on changed keys, and which these are; `changed` has lines such as `differences` gives."""
    found: dict[str, list[str]] = {}
    for stage, keys in DEPENDS.items():
        lines = [line for line in changed if any(_is_within(line.partition(":")[0], key) for key in keys)]
        if lines:
            found[stage] = lines
    return found


def _is_within(key: str, table: str) -> bool:
    return key == table or key.startswith(f"{table}.")
