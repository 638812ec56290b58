"""Trained networks with planted figures, and records of what they are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anybudget.storage.records import TrainedNetwork, Worth, checked
from anybudget.worth.summary import Figures, summarise

Test = Sequence[float]


def trained(answer: Test, random: Sequence[Test], **others: Test) -> list[TrainedNetwork]:
    """An answer, random networks and others by role (`plain`, `supernet_first`); what is no role is a reference."""
    rows = [("answer", "", answer), *(("random", "", test) for test in random)]
    for name, test in others.items():
        known = name in ("plain", "supernet_first")
        rows.append((name, "", test) if known else ("reference", name, test))
    return [
        TrainedNetwork.model_validate(
            {
                "role": role,
                "name": name,
                "architecture": {"space": "unified", "choices": [place, 1]},
                "costs": {"macs": 1e6},
                "test_percent": test,
            }
        )
        for place, (role, name, test) in enumerate(rows)
    ]


def figures(answer: Test, random: Sequence[Test], **others: Test) -> Figures:
    """The figures of `trained`."""
    return Figures.of(trained(answer, random, **others))


def record(entries: Sequence[tuple[Mapping[str, float], list[TrainedNetwork]]], **changes: object) -> Worth:
    """A `worth.json` of these networks at these budgets."""
    values: dict[str, object] = {
        "metric": "top1_percent",
        "epochs": 3,
        "seeds": list(range(len(entries[0][1][0].test_percent))),
        "scored": 0,
        "random_window": 0.9,
        "test_images": 2000,
        "test_largest_class_percent": 10,
        "settings": {},
        "seconds": 1,
        "budgets": [
            {"budgets": budgets, "floor": 1.0, "networks": networks, "summary": summarise([Figures.of(networks)])}
            for budgets, networks in entries
        ],
    }
    return checked({**values, **changes}, Worth, "worth.json")
