"""The tables of `anybudget health`, and its verdict in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anybudget.cli.streams import out
from anybudget.cli.terminal import new_table, show


def print_health(found: Mapping[str, Any]) -> None:
    """Print what `Run.health` found: how scores and floors order networks, those that were trained, and the verdict."""
    equal, whole = (found[key]["judgement"] for key in ("equal_cost", "whole_space"))
    title = (
        f"Kendall's tau with the test top-1 of {equal['networks']} networks each, trained alone for {found['epochs']} "
        f"epochs, mean of {found['seeds']} seed{'' if found['seeds'] == 1 else 's'}"
    )
    table = new_table(title, ("order by", "equal cost", "whole space"))
    for key, name in (("loss", "supernet loss"), ("top1", "supernet top-1")):
        table.add_row(name, *(_tau(judgement[key]) for judgement in (equal, whole)))
    for name in equal["floors"]:
        table.add_row(name, *(_tau(judgement["floors"][name]) for judgement in (equal, whole)))
    table.add_row("another seed of the trainings", *(_tau(judgement["seeds"]) for judgement in (equal, whole)))
    show(table)
    _print_networks(found)
    verdict = found["verdict"]
    out.print(f"verdict: {verdict['state']}", style="bold", markup=False)
    for sentence in verdict["sentences"]:
        out.print(sentence, markup=False)
    for advice in verdict["advice"]:
        out.print(f"next: {advice}", markup=False)


def _print_networks(found: Mapping[str, Any]) -> None:
    """The trained networks, the best first by supernet loss."""
    from anybudget.architecture import Architecture
    from anybudget.budgets import format_quantity

    table = new_table(
        "trained networks", ("architecture", "of", "macs", "supernet loss", "supernet top-1", "test top-1")
    )
    for key, name in (("equal_cost", "equal cost"), ("whole_space", "whole space")):
        for row in found[key]["networks"]:
            table.add_row(
                Architecture.from_dict(row["architecture"]).short_id,
                name,
                format_quantity(row["costs"]["macs"]),
                f"{row['supernet_loss']:.4f}",
                f"{row['supernet_top1_percent']:.2f}%",
                ", ".join(f"{value:.2f}%" for value in row["test_top1_percent"]),
            )
    show(table)


def _tau(tau: Mapping[str, float | None] | None) -> str:
    if tau is None or tau["kendall"] is None:
        return ""
    return f"{tau['kendall']:.2f}" + ("" if tau["error"] is None else f" ± {tau['error']:.2f}")
