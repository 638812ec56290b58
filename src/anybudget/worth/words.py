"""What the trained networks of a budget say, in words."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from anybudget.storage.records import Equivalent, Estimate, TrainedNetwork, WorthSummary
from anybudget.worth.best_of import MOST

ROLES = {
    "answer": "answer",
    "random": "random",
    "supernet_first": "supernet's first of the random",
    "plain": "plain",
    "reference": "reference",
}
"""Roles of networks for people."""


def balanced_in_words(networks: Sequence[TrainedNetwork]) -> str:
    """The mean balanced accuracy of the answer and of random networks; "" where it was not kept, or is the metric."""
    found = {
        role: [network.test_balanced_accuracy_percent for network in networks if network.role == role]
        for role in ("answer", "random")
    }
    if not all(kept and all(kept) for kept in found.values()):
        return ""
    answer, random = (fmean(map(fmean, kept)) for kept in found.values())
    return f"Balanced accuracy: answer {answer:.2f}%, random mean {random:.2f}%."


def verdict_in_words(summary: WorthSummary) -> str:
    """One or two sentences: whether the search found anything, by how much, and what it saved."""
    points, count = _points(summary.difference), summary.random_count
    if summary.verdict == "better":
        return (
            f"The search found something: the answer is {points} above random networks of its cost, {saved(summary)}."
        )
    if summary.verdict == "worse":
        return f"The search chose badly: the answer is {points} below random networks of its cost."
    if summary.verdict == "flat":
        return (
            f"No difference: on this data the architecture does not matter at this size. {count} random networks of "
            "the answer's cost differ no more among each other than trainings of one network do."
        )
    side = "above" if summary.difference.percent >= 0 else "below"
    why = (
        "each network was trained once" if summary.seed_noise is None else f"they differ by {summary.spread:.2f} points"
    )
    return (
        f"No difference was found: the answer is {points} {side} the mean of {count} random networks of its cost, "
        f"which may be chance ({why}); more random networks or seeds would tell."
    )


def equivalent_in_table(found: Equivalent) -> str:
    """An equivalent for a table: `5.2`, or beyond the networks that were trained `≈ 31 (6 to 400)`."""
    if not found.extrapolated:
        return count_in_words(found.networks)
    if found.low is None or found.high is None:
        return f"over {count_in_words(found.networks)}"
    return f"≈ {count_in_words(found.networks)} ({count_in_words(found.low)} to {count_in_words(found.high)})"


def saved(summary: WorthSummary) -> str:
    """What an answer is worth: `as good as the best of 5.2 of them`."""
    found = summary.equivalent
    if not found.extrapolated:
        return f"as good as the best of {count_in_words(found.networks)} of them"
    return f"better than all {summary.random_count} that were trained, {extrapolated_in_words(found)}"


def extrapolated_in_words(found: Equivalent) -> str:
    """An equivalent beyond the networks that were trained, with its range."""
    if found.low is None or found.high is None:
        return "and how many more it is worth cannot be told"
    return (
        f"as good as the best of about {count_in_words(found.networks)} by extrapolation "
        f"({count_in_words(found.low)} to {count_in_words(found.high)})"
    )


def count_in_words(count: float) -> str:
    """A number of networks: with a decimal where it is small, with two significant digits where it is large."""
    if count >= MOST:
        return "more than a thousand million"
    if count < 99.5:
        return f"{count:.1f}".removesuffix(".0")
    return f"{float(f'{count:.2g}'):,.0f}"


def with_error(estimate: Estimate, *, signed: bool = False) -> str:
    """`84.80 ± 0.31`; without an error where nothing tells it."""
    mean = f"{estimate.percent:+.2f}" if signed else f"{estimate.percent:.2f}"
    return mean if estimate.error is None else f"{mean} ± {estimate.error:.2f}"


def _points(difference: Estimate) -> str:
    size = f"{abs(difference.percent):.2f}"
    return f"{size if difference.error is None else f'{size} ± {difference.error:.2f}'} points"
