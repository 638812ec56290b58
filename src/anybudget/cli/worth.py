"""The tables of `anybudget worth`: trained networks, and what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anybudget.cli.streams import out
from anybudget.cli.terminal import new_table, show

if TYPE_CHECKING:
    from anybudget.budgets import BudgetSet
    from anybudget.storage.records import Worth, WorthSummary


def print_worth(found: Worth) -> None:
    """Print what trained networks say of the answers of one run."""
    from anybudget.evaluation.metrics import title
    from anybudget.worth.pooling import budget_set
    from anybudget.worth.words import balanced_in_words

    seeds = len(found.seeds)
    heading = (
        f"test {title(found.metric)} in percent of networks trained alone, {found.epochs} epochs, "
        f"{seeds} seed{'s' if seeds > 1 else ''}; mean ± standard error"
    )
    print_summaries(heading, [(budget_set(entry), entry.summary) for entry in found.budgets])
    for entry in found.budgets:
        if balanced := balanced_in_words(entry.networks):
            out.print(f"{budget_set(entry)}: {balanced}", markup=False)
    out.print(
        f"{found.test_images:,} test images; always answering with the largest class gives "
        f"{found.test_largest_class_percent:.2f}% top-1"
    )


def print_summaries(heading: str, summaries: list[tuple[BudgetSet, WorthSummary]]) -> None:
    """Print a row for each budget set, and below what each says in words."""
    from anybudget.worth.words import ROLES, count_in_words, equivalent_in_table, verdict_in_words, with_error

    others = list(dict.fromkeys((o.role, o.name) for _, summary in summaries for o in summary.others))
    columns = ["budget", "answer", "random mean", "random best", "answer minus mean", "best of N", "N at least"]
    table = new_table(heading, [*columns, *(name or ROLES[role] for role, name in others)])
    for budgets, summary in summaries:
        networks = {(other.role, other.name): with_error(other.test) for other in summary.others}
        table.add_row(
            str(budgets),
            with_error(summary.answer),
            f"{with_error(summary.random)} ({summary.random_count})",
            f"{summary.random_best:.2f}",
            with_error(summary.difference, signed=True),
            equivalent_in_table(summary.equivalent),
            count_in_words(summary.equivalent.at_least),
            *(networks.get(other, "") for other in others),
        )
    show(table)
    for budgets, summary in summaries:
        out.print(f"{budgets}: {verdict_in_words(summary)}", markup=False)
