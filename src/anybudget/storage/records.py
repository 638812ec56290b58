"""Reading the files of a run folder: JSON, JSON lines, CSV and TOML, with the file and line in every complaint."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anybudget.architecture import Architecture
from anybudget.errors import ArchitectureError, RunError, reason, shorten
from anybudget.reading import UnreadableError, parse_json, parse_toml, read_text

LARGEST = 1e100
"""The greatest number, of either sign, that a report shows."""

Layers = tuple[tuple[str, ...], ...]
"""The operation names of every slot, layer by layer."""


@dataclass(frozen=True, slots=True)
class Record:
    """A JSON object and where it stands. Every accessor raises `RunError` when the value is missing or unfit."""

    where: str
    values: dict[str, Any]

    def get(self, key: str) -> Any:
        """The raw value of `key`."""
        if key not in self.values:
            found = ", ".join(self.values) or "nothing"
            raise RunError(f'{self.where}: lacks "{key}"; found {shorten(found)}')
        return self.values[key]

    def number(self, key: str) -> float:
        """The finite number under `key`."""
        return _finite(self.get(key), f'{self.where}: "{key}"')

    def optional_number(self, key: str) -> float | None:
        """The finite number under `key`; None where it is null."""
        return None if self.get(key) is None else self.number(key)

    def later_number(self, key: str) -> float | None:
        """The finite number under `key`; None where a run from before the key existed does not have it."""
        return self.optional_number(key) if key in self.values else None

    def text(self, key: str) -> str:
        """The text under `key`."""
        return str(self._typed(key, str, "a text"))

    def flag(self, key: str) -> bool:
        """The true or false under `key`."""
        return bool(self._typed(key, bool, "true or false"))

    def record(self, key: str) -> Record:
        """The object under `key`."""
        return Record(f'{self.where}: "{key}"', self._typed(key, dict, "an object"))

    def records(self, key: str) -> list[Record]:
        """The objects of the list under `key`."""
        items = self._typed(key, list, "a list of objects")
        for number, item in enumerate(items, start=1):
            if not isinstance(item, dict):
                raise RunError(f'{self.where}: "{key}", item {number} must be an object, found {shorten(repr(item))}')
        return [Record(f'{self.where}: "{key}", item {number}', item) for number, item in enumerate(items, start=1)]

    def numbers(self, key: str) -> dict[str, float]:
        """The object under `key` whose values are all finite numbers."""
        record = self.record(key)
        return {name: record.number(name) for name in record.values}

    def architecture(self, key: str) -> Architecture:
        """The architecture under `key`."""
        try:
            return Architecture.from_dict(self.get(key), f'{self.where}: "{key}"')
        except ArchitectureError as error:
            raise RunError(shorten(str(error), 400)) from error

    def layers(self, key: str) -> Layers:
        """The list of lists of operation names under `key`."""
        layers = self._typed(key, list, "a list of lists of texts")
        for layer in layers:
            if not isinstance(layer, list) or not all(isinstance(name, str) for name in layer):
                raise RunError(f'{self.where}: "{key}" must be a list of lists of texts, found {shorten(repr(layer))}')
        return tuple(tuple(layer) for layer in layers)

    def _typed(self, key: str, kind: type, expected: str) -> Any:
        value = self.get(key)
        if not isinstance(value, kind):
            raise RunError(f'{self.where}: "{key}" must be {expected}, found {shorten(repr(value))}')
        return value


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


def read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of a TOML file, and what it says."""
    text = _read(path) or ""
    try:
        return text, parse_toml(text)
    except UnreadableError as error:
        raise RunError(f"{path}: not TOML: {error}") from None


def read_json(path: Path) -> Record | None:
    """The one object of a JSON file; None where there is no such file."""
    text = _read(path)
    return None if text is None else _parse(text, str(path), first_line=None)


def read_json_lines(path: Path) -> Iterator[Record]:
    """The object of every line that is not blank; none where there is no such file."""
    for number, line in enumerate((_read(path) or "").split("\n"), start=1):
        if line.strip():
            yield _parse(line, f"{path}, line {number}", first_line=number)


def read_curve(path: Path, names: Sequence[str]) -> Curve | None:
    """The columns `names` of a CSV file; None where the file is missing or has no row yet.

    A value may be nan or infinite: a report of a training that went astray is worth having.
    """
    reader = csv.reader((_read(path) or "").splitlines(), strict=True)
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
    return Curve({name: tuple(row[name] for row in rows) for name in names})


def _read(path: Path) -> str | None:
    try:
        return read_text(path)
    except FileNotFoundError:
        return None
    except (OSError, UnreadableError) as error:
        line = error.line if isinstance(error, UnreadableError) else None
        where, problem = (f"{path}, line {line}", "not UTF-8 text") if line else (path, "cannot be read")
        raise RunError(f"{where}: {problem}: {reason(error)}") from None


def _parse(text: str, where: str, first_line: int | None) -> Record:
    try:
        data = parse_json(text)
    except UnreadableError as error:
        line = f", line {error.line}" if error.line and first_line is None else ""
        raise RunError(f"{where}{line}: not JSON: {error}") from None
    if not isinstance(data, dict):
        raise RunError(f"{where}: expected a JSON object, found {shorten(repr(data))}")
    return Record(where, data)


def _finite(value: Any, where: str) -> float:
    # bool is an int to Python, but true is no number of anything.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RunError(f"{where} must be a number, found {shorten(repr(value))}")
    number = float(value)
    # No cost, time or accuracy comes near this; beyond it, arithmetic on axes would overflow.
    if not abs(number) <= LARGEST:
        raise RunError(f"{where} must be a finite number of at most {LARGEST:g}, found {number}")
    return number


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
