"""Progress bars, and tables that fit the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from anybudget.cli.streams import OutputClosed, err, out


class StreamConsole(Console):
    """What draws on standard output or error."""

    def on_broken_pipe(self) -> None:
        """Leave it to the command line how the process ends."""
        raise OutputClosed


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
        with Progress(*columns, console=err.console) as bars:
            yield RichTask(bars, bars.add_task(name, total=total, figure=""))


class RichTask:
    """One bar."""

    def __init__(self, bars: Progress, identifier: Any) -> None:
        self._bars, self._identifier = bars, identifier

    def advance(self, steps: int = 1, figure: str = "") -> None:
        """Move the bar on."""
        self._bars.update(self._identifier, advance=steps, figure=figure)


def new_table(title: str, columns: Sequence[str]) -> Table:
    """A table with a title, its first column on the left, the others on the right."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position == 0 else "right", overflow="fold")
    return table


def show(table: Table) -> None:
    """Print a table without breaking a word or a number.

    In a terminal its cells fold between words; where the longest words alone are wider, it is printed row by row.
    Elsewhere lines are as long as they have to be, so that `grep` finds a row whole.
    """
    limit = out.console.width if out.console.file.isatty() else None
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
    console = out.console
    options = console.options.update(width=10**6)
    shown = [[*([column.header] if table.show_header else []), *column.cells] for column in table.columns]
    measured = [[Measurement.get(console, options, cell) for cell in column] for column in shown]
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
