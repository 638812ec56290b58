"""Numbers of choices as CSV: a line for each block, or a line for each decision with a column for each operation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from anybudget.errors import ConfigError, shorten, shown
from anybudget.reading import parse_csv, read_text, unreadable_as

CONSTANT = "constant"
"""What stands in place of a decision in the line of what every network costs."""

_NAMED = 5
_WAY_OUT = "begin the CSV with decision,choice,ms, or with decision and the names of the choices"

Row = tuple[int, list[str]]


@dataclass
class CsvNumbers:
    """What a CSV file says: the `unit`, empty where it does not say, the constant, and a number of every choice."""

    unit: str = ""
    constant: float = 0.0
    decisions: dict[str, dict[str, float]] = field(default_factory=dict)


def read_csv_numbers(path: Path) -> CsvNumbers:
    """The numbers in a CSV file, in one of two forms; in both one line says what every network costs.

    With a line for each block the third column is named by the unit; with a column for each choice a cell without a
    number is of a choice that the decision does not have.

    ```
    decision,choice,ms          decision,k3_e3,k3_e6,skip
    constant,,1.25              constant,1.25
    layer 1,k3_e3,0.41          layer 1,0.41,0.73,
    layer 1,k3_e6,0.73          layer 2,0.22,0.35,0
    ```

    Args:
        path: the file, in UTF-8, with commas.

    Raises:
        ConfigError: the file cannot be read, or a line is wrong; names the lines.
    """
    with unreadable_as(ConfigError, f"file: {path}", "cannot read the table", _WAY_OUT):
        rows = parse_csv(read_text(path))
    header = rows[0][1] if rows else []
    names = [name.lower() for name in header[:2]]
    if len(header) < 2 or names[0] != "decision":
        raise ConfigError(f"file: {path}: its first line is {shown(shorten(','.join(header)))}; {_WAY_OUT}")
    reading = _Reading()
    if names[1] == "choice":
        if len(header) != 3:
            raise ConfigError(f"file: {path}: its first line has {len(header)} columns; {_WAY_OUT}")
        reading.found.unit = header[2]
        reading.read_lines(rows[1:])
    else:
        repeated = sorted({name for name in header if header.count(name) > 1})
        if repeated or "" in header:
            what = f"the column {repeated[0]!r} twice" if repeated and repeated[0] else "a column without a name"
            raise ConfigError(f"file: {path}: its first line has {what}; {_WAY_OUT}")
        reading.read_columns(header[1:], rows[1:])
    reading.check(path)
    return reading.found


@dataclass
class _Reading:
    """What has been read, and what is wrong with it."""

    found: CsvNumbers = field(default_factory=CsvNumbers)
    has_constant: bool = False
    problems: list[str] = field(default_factory=list)

    def read_lines(self, rows: Sequence[Row]) -> None:
        """Lines `decision,choice,number`."""
        for line, cells in rows:
            if len(cells) != 3:
                self.problems.append(f"line {line}: has {len(cells)} columns, not 3")
            else:
                self._put(line, cells[0], cells[1], cells[2])

    def read_columns(self, choices: Sequence[str], rows: Sequence[Row]) -> None:
        """Lines `decision,number,...`, a number for each of `choices`."""
        for line, (decision, *cells) in rows:
            if len(cells) > len(choices) and any(cells[len(choices) :]):
                self.problems.append(f"line {line}: has {len(cells)} numbers for {len(choices)} choices")
            elif decision == CONSTANT:
                given = [cell for cell in cells if cell]
                self._put(line, decision, "", given[0] if len(given) == 1 else "")
            elif decision in self.found.decisions:
                self.problems.append(f"line {line}: {shown(decision)} has a line already")
            else:
                self.found.decisions[decision] = {}
                for choice, cell in zip(choices, cells, strict=False):
                    if cell:
                        self._put(line, decision, choice, cell)

    def check(self, path: Path) -> None:
        """Refuse what is wrong."""
        if not self.has_constant and not self.problems:
            self.problems.append(
                f"has no line {CONSTANT!r} for what every network costs besides its choices; write {CONSTANT},,0 if "
                "other numbers include it"
            )
        if self.problems:
            more = f"; and {len(self.problems) - _NAMED} more" if len(self.problems) > _NAMED else ""
            raise ConfigError(f"file: {path}: {'; '.join(self.problems[:_NAMED])}{more}")

    def _put(self, line: int, decision: str, choice: str, text: str) -> None:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and number >= 0):
            self.problems.append(
                f"line {line}: {shown(text)} for {shown(' '.join(filter(None, (decision, choice))))} is no number of "
                "at least 0"
            )
        elif decision == CONSTANT and not choice and not self.has_constant:
            self.found.constant, self.has_constant = number, True
        elif decision == CONSTANT or choice in self.found.decisions.get(decision, {}):
            self.problems.append(f"line {line}: {' '.join(filter(None, (decision, choice)))} has a number already")
        else:
            self.found.decisions.setdefault(decision, {})[choice] = number
