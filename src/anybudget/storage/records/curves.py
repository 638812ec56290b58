"""Curves: CSV files of metrics, one row per epoch."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anybudget.errors import RunError, shorten
from anybudget.storage.records.reading import read_whole


@dataclass(frozen=True, slots=True)
class Curve:
    """The columns of a CSV file of metrics, one row per epoch; `rows` is at least 1."""

    columns: dict[str, tuple[float, ...]]

    def __getitem__(self, name: str) -> tuple[float, ...]:
        return self.columns[name]

    @property
    def rows(self) -> tuple[tuple[float, ...], ...]:
        """The values epoch by epoch, in the order of `columns`."""
        return tuple(zip(*self.columns.values(), strict=True))


def read_curve(path: Path, names: Sequence[str], also: Sequence[str] = ()) -> Curve | None:
    """The columns `names` of a CSV file, and those of `also` that it has; None where it is missing or has no row yet.

    A value may be nan or infinite: a report of a training that went astray is worth having.
    """
    reader = csv.reader((read_whole(path) or "").splitlines(), strict=True)
    try:
        header = next(reader, [])
        rows = []
        for row in reader:
            if row:
                rows.append(_csv_row(f"{path}, line {reader.line_num}", header, row))
    except csv.Error as error:
        raise RunError(f"{path}, line {reader.line_num}: not CSV: {error}") from error
    missing = [name for name in names if name not in header]
    if header and missing:
        raise RunError(f'{path}, line 1: lacks the column "{missing[0]}"; found {shorten(", ".join(header))}')
    if not rows:
        return None
    shown = [*names, *(name for name in also if name in header)]
    return Curve({name: tuple(row[name] for row in rows) for name in shown})


def _csv_row(where: str, header: Sequence[str], row: Sequence[str]) -> dict[str, float]:
    if len(row) != len(header):
        raise RunError(f"{where}: has {len(row)} values for {len(header)} columns ({shorten(', '.join(header))})")
    values = {}
    for name, cell in zip(header, row, strict=True):
        try:
            values[name] = float(cell)
        except ValueError as error:
            raise RunError(f'{where}: "{name}" must be a number, found {shorten(repr(cell))}') from error
    return values
