"""The model card of an exported network, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jinja2

from anybudget.budgets import Budget, BudgetSet, format_quantity
from anybudget.data.preparation import UNCHANGED
from anybudget.export.subject import Subject
from anybudget.storage.records import Described, Export, Network

CARD = "README.md"

_WEIGHTS = {
    "retrained": "trained on their own",
    "raced": "trained on in the race at the end of the search",
    "inherited": "the supernet's, norms calibrated on training images; not trained on their own",
}

_MOST_NAMES = 50
"""As many classes are listed."""


def write_card(record: Export, subject: Subject) -> str:
    """The card: what the network is, what it costs, how accurate it is, what it was trained on, how to load each form.

    Args:
        record: with all forms that are there.
        subject: the network.
    """
    facts, preparation = subject.facts, subject.facts.preparation
    title, intro = subject.about()
    return _environment().get_template("card.md.jinja").render(
        title=_cell(title),
        intro=_cell(intro),
        name=subject.name,
        record=record,
        kind=_kind(record.network),
        weights=_WEIGHTS[record.weights],
        classes=facts.class_names or tuple(map(str, range(facts.classes))),
        mean=_numbers(facts.mean),
        std=_numbers(facts.std),
        channels=preparation.channels,
        height=preparation.height,
        width=preparation.width,
        value_range=preparation.value_range,
        resized=preparation.resize != UNCHANGED,
    )  # fmt: skip


def _kind(network: Described) -> str:
    """What a network is, in a cell of a table."""
    if not isinstance(network, Network):
        return f"{_cell(network.zoo)}, a published network"
    derived = f", with {_cell(network.activation)}" if network.activation else ""
    derived += ", with squeeze-and-excitation" if network.se_reduction else ""
    return f"`{network.architecture.short_id}` of the space `{network.space.get('name', '')}`{derived}"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("anybudget", "templates"),
        autoescape=False,  # it writes Markdown; what users name goes through `cell`
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"cell": _cell, "limits": _limits, "named": _named, "quantity": format_quantity}
    return environment


def _cell(text: str) -> str:
    """A text of the user's that may stand in a table, without markup of its own."""
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    for character in "\\`*_[]<>|":
        line = line.replace(character, f"\\{character}")
    return line


def _limits(limits: Mapping[str, float]) -> str:
    """A budget set as it was asked for."""
    return f"`{BudgetSet(tuple(Budget(cost, limit) for cost, limit in limits.items()))}`"


def _named(classes: Sequence[str]) -> str:
    """Names of classes, the first of them where there are many."""
    shown = ", ".join(map(_cell, classes[:_MOST_NAMES]))
    return shown if len(classes) <= _MOST_NAMES else f"{shown}, … (all are in the metadata of the files)"


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)
