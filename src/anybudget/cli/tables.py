"""What the terminal shows: tables on standard output, progress bars on standard error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from anybudget.errors import BudgetError, RunError

if TYPE_CHECKING:
    from anybudget.runs.run import Run


class OutputClosed(BaseException):
    """Whoever reads the output has gone away; no `Exception`, so that nothing on the way takes it for a mistake."""


class Stream(Console):
    """Standard output or error."""

    def on_broken_pipe(self) -> None:
        """Leave it to the command line how the process ends."""
        raise OutputClosed


out = Stream(soft_wrap=True, highlight=False)
err = Stream(stderr=True, soft_wrap=True, highlight=False)


def printable(text: str) -> str:
    """Text on one line, with what a terminal would act on written out."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


class RichProgress:
    """Draws progress on standard error, one bar at a time: how much, how long still, and the figure that matters."""

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[RichTask]:
        """Open a bar of `total` steps."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figure]}"),
        )
        with Progress(*columns, console=err) as bars:
            yield RichTask(bars, bars.add_task(name, total=total, figure=""))


class RichTask:
    """One bar."""

    def __init__(self, bars: Progress, identifier: Any) -> None:
        self._bars, self._identifier = bars, identifier

    def advance(self, steps: int = 1, figure: str = "") -> None:
        """Move the bar on."""
        self._bars.update(self._identifier, advance=steps, figure=figure)


def _quantity(value: float) -> str:
    from anybudget.budgets import format_quantity

    return format_quantity(value)


def _limits(budgets: Mapping[str, float]) -> str:
    """A budget set as it is asked for, exactly."""
    from anybudget.budgets import Budget, BudgetSet

    return str(BudgetSet(tuple(Budget(cost, limit) for cost, limit in budgets.items())))


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position == 0 else "right", overflow="fold")
    return table


def show(table: Table) -> None:
    """Print a table without breaking a word or a number.

    In a terminal its cells fold between words; where the longest words alone are wider, it is printed row by row.
    Elsewhere lines are as long as they have to be, so that `grep` finds a row whole.
    """
    limit = out.width if out.file.isatty() else None
    if table.title:
        out.print(table.title, style="bold", soft_wrap=limit is None)
        table.title = None
    widths = _column_widths(table, limit)
    if widths is None:
        _print_stacked(table)
        return
    for column, width in zip(table.columns, widths, strict=True):
        column.width = width
    table.width = sum(widths) + _frame(table)
    out.print(table)


def _frame(table: Table) -> int:
    """How wide the lines and spaces between the columns are, in characters."""
    return 3 * len(table.columns) + 1


def _column_widths(table: Table, limit: int | None) -> list[int] | None:
    """A width for each column such that no word is broken, in characters; None where `limit` is too small for any."""
    options = out.options.update(width=10**6)
    shown = [[*([column.header] if table.show_header else []), *column.cells] for column in table.columns]
    measured = [[Measurement.get(out, options, cell) for cell in column] for column in shown]
    least = [max(cell.minimum for cell in column) for column in measured]
    most = [max(cell.maximum for cell in column) for column in measured]
    if limit is None:
        return most
    left = limit - _frame(table) - sum(least)
    if left < 0:
        return None
    for index in sorted(range(len(most)), key=lambda index: most[index] - least[index]):  # those that need little first
        more = min(left, most[index] - least[index])
        least[index] += more
        left -= more
    return least


def _print_stacked(table: Table) -> None:
    """Print each row as a line of its first cell and, below it, a line for every other one with its header."""
    headers, *rows = zip(*([column.header, *column.cells] for column in table.columns), strict=True)
    for first, *others in rows:
        out.print(
            Text.assemble(f"{headers[0]}: " if str(headers[0]) else "", _as_text(first)), style="bold", soft_wrap=False
        )
        for header, cell in zip(headers[1:], others, strict=True):
            if str(cell):
                out.print(Text.assemble(f"  {header}: " if str(header) else "  ", _as_text(cell)), soft_wrap=False)


def _as_text(cell: RenderableType) -> Text:
    return cell if isinstance(cell, Text) else Text.from_markup(str(cell))


def print_examination(found: Mapping[str, Any]) -> None:
    """Print what `examine` found: the installation, and a line for everything that was looked at in a run folder."""
    from anybudget.runs.environment import facts

    table = _table("environment", ("", ""))
    table.show_header = False
    for name, value in facts(found["environment"]):
        table.add_row(name, Text(printable(value)))
    show(table)
    if found["run"] is None:
        return
    table = Table(title=Text(f"run {printable(found['run'])}"), title_justify="left", title_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("looked at", header_style="bold", overflow="fold")
    table.add_column("found", header_style="bold", overflow="fold")
    styles = {"ok": "green", "note": "yellow", "problem": "bold red"}
    for check in found["checks"]:
        state = Text(check["state"], styles[check["state"]])
        table.add_row(state, *(Text(printable(check[key])) for key in ("check", "found")))
    show(table)
    out.print(f"{found['problems'] or 'no'} problem{'' if found['problems'] == 1 else 's'}")


def print_space(summary: Mapping[str, Any]) -> None:
    """Print what `space_summary` found."""
    from anybudget.budgets import exact_quantity

    size, networks = summary["size"], summary["networks"]
    distinct = f", {networks:,} of them distinct" if networks < size else ""
    out.print(
        f"search space {summary['space']}: {summary['decisions']} decisions, {size:,} networks ({size:.2e}){distinct}"
    )
    table = _table("costs", ("cost", "min", "median", "max"))
    for name, row in summary["costs"].items():
        table.add_row(name, *(exact_quantity(float(f"{row[key]:.12g}")) for key in ("min", "median", "max")))
    show(table)
    table = _table("budgets", ("budgets", "reachable"))
    for row in summary["budgets"]:
        table.add_row(row["text"], "yes" if row["reachable"] else f"no: {row['reason']}")
    show(table)


def print_candidates(rows: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]] = ()) -> None:
    """Print generated architectures, beside the random baseline at the same budgets where there is one."""
    from anybudget.budgets import least_unused_percent

    names = _costs_of(rows)
    columns = ["budgets", *names, "unused of the tightest", "supernet top-1", "balanced"]
    table = _table(
        "generated architectures", [*columns, *(["random best", "random mean", "random worst"] if baseline else [])]
    )
    for row in rows:
        budgets, costs = row["budgets"], row["costs"]
        cells = [
            _limits(budgets),
            *(_cost(costs, name) for name in names),
            f"{least_unused_percent(budgets, costs):.2f}%",
            f"{row['supernet_top1_percent']:.2f}%",
            _percent(row.get("supernet_balanced_accuracy_percent")),
        ]
        scores = [other["supernet_top1_percent"] for other in baseline if other["budgets"] == budgets]
        if scores:
            cells += [f"{value:.2f}%" for value in (max(scores), sum(scores) / len(scores), min(scores))]
        table.add_row(*cells)
    show(table)
    _print_largest_class(rows, "validation")


def _costs_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The costs that a table of networks shows: those that are always shown, and all that are limited."""
    from anybudget.costs import shown_costs

    shown = shown_costs(dict.fromkeys(name for row in rows for name in row["costs"]))
    return list(dict.fromkeys((*shown, *(name for row in rows for name in row.get("budgets", ())))))


def _cost(costs: Mapping[str, float], name: str) -> str:
    """A cost as tables write it; empty where the run did not have it yet."""
    return _quantity(costs[name]) if name in costs else ""


def _percent(value: float | None) -> str:
    """A share as tables write it; empty where a run from before it was measured does not say it."""
    return "" if value is None else f"{value:.2f}%"


def _print_largest_class(rows: Sequence[Mapping[str, Any]], split: str) -> None:
    """What top-1 and balanced accuracy have to beat: always answering with the largest class."""
    shares = [row[key] for row in rows if (key := f"{split}_largest_class_percent") in row]
    if shares:
        out.print(
            f"always answering with the largest class gives {shares[-1]:.2f}% top-1 on {split} images; balanced "
            "accuracy is the mean over classes of their share of right answers"
        )


def print_comparison(found: Mapping[str, Any]) -> None:
    """Print what `compare` found: top-1 at every budget, then what the strategies add up to."""
    strategies = found["strategies"]
    table = _table("supernet top-1 by strategy", ["", *(strategy["name"] for strategy in strategies)])
    for index, budgets in enumerate(found["budgets"]):
        scores = [strategy["candidates"][index]["supernet_top1_percent"] for strategy in strategies]
        best = max(scores)
        cells = (f"[bold]{score:.2f}%[/bold]" if score == best else f"{score:.2f}%" for score in scores)
        table.add_row(_limits(budgets), *cells)
        balanced = [strategy["candidates"][index].get("supernet_balanced_accuracy_percent") for strategy in strategies]
        table.add_row("  balanced accuracy", *map(_percent, balanced))
    table.add_section()
    table.add_row("least use of a budget", *(f"{100 * found['min_use']:.3g}%" for _ in strategies))
    table.add_row("hypervolume", *(f"{strategy['hypervolume']:.4f}" for strategy in strategies))
    for key, title in (
        ("evaluations", "candidates evaluated"),
        ("images", "images, training included"),
        ("macs", "MACs"),
    ):
        table.add_row(title, *(_quantity(strategy["spent"][key]) for strategy in strategies))
    table.add_row("seconds", *(f"{strategy['spent']['seconds']:.1f}" for strategy in strategies))
    show(table)


def print_ranking(found: Mapping[str, Any]) -> None:
    """Print how well few images order architectures, and how well the supernet agrees with what is known."""
    total = found["validation_images"]
    columns = ("images", "loss", "top-1", "loss for top-1", "loss on one batch")
    for name, supernet in found["supernets"].items():
        span = supernet["top1_percent"]
        title = (
            f"{name} supernet: Kendall's tau of {found['paths']} networks' scores on few images and on all {total:,} "
            f"(top-1 {span['lowest']:.1f} to {span['highest']:.1f}%)"
        )
        table = _table(title, columns)
        for row in supernet["rows"]:
            keys = ("loss", "top1", "loss_for_top1", "batch_loss")
            table.add_row(f"{row['images']:,}", *(_tau(row[key]) for key in keys))
        show(table)
        for key, what in (("retrained", "retrained networks"), ("truth", "ground truth")):
            if supernet[key]:
                agreement = supernet[key]
                tau = f"tau {_tau(agreement['top1'])} of top-1, {_tau(agreement['loss'])} of loss"
                out.print(
                    f"{name} supernet against {what} ({agreement['networks']}): {tau}; "
                    f"picks {agreement['picked_percent']:.2f}% of at best {agreement['best_percent']:.2f}% "
                    f"(mean {agreement['mean_percent']:.2f}%)"
                )


def _tau(correlation: Mapping[str, float] | None) -> str:
    value = correlation["kendall"] if correlation else None
    return "" if value is None else f"{value:.3f}"


def print_retrained(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print retrained networks with their test top-1."""
    names = _costs_of(rows)
    columns = ("architecture", *names, "epochs", "start", "test top-1", "balanced")
    table = _table("retrained networks", columns)
    for row in rows:
        table.add_row(
            _short_id(row),
            *(_cost(row["costs"], name) for name in names),
            str(row["epochs"]),
            "inherited weights" if row["inherited"] else "from scratch",
            f"{row['test_top1_percent']:.2f}%",
            _percent(row.get("test_balanced_accuracy_percent")),
        )
    show(table)
    _print_largest_class(rows, "test")


def _short_id(row: Mapping[str, Any]) -> str:
    from anybudget.architecture import Architecture

    return Architecture.from_dict(row["architecture"]).short_id


def print_results(opened: Run) -> None:
    """Print what a whole run found.

    Raises:
        RunError: a file does not hold what a run writes there.
    """
    folder = opened.folder
    answers, baseline = folder.read_lines("candidates.jsonl"), folder.read_lines("random.jsonl")
    names = [str(path.relative_to(folder.path)) for path in sorted(folder.path.glob("retrain/*/result.json"))]
    rows = [folder.read_json(name) for name in names]
    try:
        print_candidates(answers, baseline)
        if rows:
            print_retrained(sorted(rows, key=lambda row: list(row["costs"].values())))
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError, BudgetError) as error:
        raise RunError(
            f"{folder.path}: candidates.jsonl, random.jsonl or a result.json below retrain/ has not the keys and "
            f"values that a run writes ({type(error).__name__}: {error}); `anybudget doctor {folder.path}` looks at all"
        ) from None
