"""Reads text that comes from outside: whole files, JSON and TOML; the one place that guards against absurd input.

What is read here is a regular file of at most `LARGEST_FILE` bytes, in UTF-8, nested at most `DEEPEST` levels, and with
numbers that Python can print. Everything else in the project may rely on that. An integer of JSON beyond the range of
a float is read as infinite, as JSON's own 1e999 is, so that checks for finite numbers find it.
"""

from __future__ import annotations

import csv
import json
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

from anybudget.errors import AnyBudgetError, reason, shown

LARGEST_FILE = 2**30
"""Bytes of a text file; the longest that are written, the journals of searches, stay far below."""

DEEPEST = 100
"""Levels of lists and tables in each other; the deepest that are written, the states of checkpoints, have about 30."""

_DIGITS, _BITS = 308, 14_000
"""Digits of an integer that certainly is a float, and bits of one that Python certainly prints."""


class UnreadableError(ValueError):
    """A text is not what it should be; the message is the reason alone, for use inside a message that names the file.

    `line` is the number of the line that is wrong, from 1, where that is known. `syntax` says that the text breaks the
    rules of its language, and is not merely larger or deeper than may be.
    """

    def __init__(self, message: str, line: int | None = None, *, syntax: bool = False) -> None:
        super().__init__(message)
        self.line, self.syntax = line, syntax


@contextmanager
def unreadable_as(kind: type[AnyBudgetError], where: object, problem: str, way_out: str = "") -> Iterator[None]:
    """Within, a file is read: what is wrong with it becomes one message, "where: problem: reason; way out".

    Raises:
        kind: the file cannot be opened, or the text is not what it should be.
    """
    try:
        yield
    except (OSError, UnreadableError) as error:
        raise kind(f"{where}: {problem}: {reason(error)}{way_out and f'; {way_out}'}") from None


def read_bytes(path: Path) -> bytes:
    """All of a regular file.

    Raises:
        OSError: it is missing, or cannot be opened.
        UnreadableError: this is no path of a regular file, or the file is too large.
    """
    try:
        found = path.stat()
        regular = stat.S_ISREG(found.st_mode)
        if not regular and not stat.S_ISDIR(found.st_mode):  # of a folder the system says so
            raise UnreadableError("not a regular file")
        if regular and found.st_size > LARGEST_FILE:
            raise UnreadableError(f"a file of {found.st_size:,} bytes, more than the {LARGEST_FILE:,} allowed")
        return path.read_bytes()
    except UnreadableError:
        raise
    except ValueError as error:  # a path with a null byte, or with what the system cannot write
        raise UnreadableError(reason(error)) from None


def resolved_path(path: Path) -> Path:
    """Where a path leads, links followed.

    Raises:
        UnreadableError: it can be no path, or its links lead in a circle.
    """
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise UnreadableError(reason(error)) from None


def read_text(path: Path) -> str:
    """All of a regular file in UTF-8, every end of a line as a line feed.

    Raises:
        OSError: it is missing, or cannot be opened.
        UnreadableError: this is no path of a regular file, the file is too large, or no UTF-8.
    """
    return decoded(read_bytes(path)).replace("\r\n", "\n").replace("\r", "\n")


def decoded(content: bytes) -> str:
    """UTF-8 as text.

    Raises:
        UnreadableError: it is none.
    """
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UnreadableError(reason(error), content.count(b"\n", 0, error.start) + 1) from None


def parse_json(text: str | bytes) -> Any:
    """The value that JSON says.

    Raises:
        UnreadableError: the text is no JSON in UTF-8, or nested too deeply.
    """
    try:
        return _bounded(json.loads(decoded(text) if isinstance(text, bytes) else text, parse_int=_integer))
    except json.JSONDecodeError as error:
        raise UnreadableError(reason(error), error.lineno, syntax=True) from None
    except RecursionError:
        raise UnreadableError("nested too deeply") from None


def parse_object(text: str | bytes) -> dict[str, Any]:
    """The object that JSON says.

    Raises:
        UnreadableError: the text is no JSON, or says something else than an object.
    """
    found = parse_json(text)
    if not isinstance(found, dict):
        raise UnreadableError(f"not an object but {shown(found)}")
    return found


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML document.

    Raises:
        UnreadableError: the text is no TOML, nested too deeply, or has a number that is too large to print.
    """
    try:
        return dict(_bounded(tomllib.loads(text)))
    except RecursionError:
        raise UnreadableError("nested too deeply") from None
    except UnreadableError:
        raise
    except ValueError as error:
        raise UnreadableError(reason(error), syntax=isinstance(error, tomllib.TOMLDecodeError)) from None


def parse_csv(text: str) -> list[tuple[int, list[str]]]:
    """The rows of comma-separated values that have any, each with the number of its last line; cells are stripped.

    Raises:
        UnreadableError: a quote is not closed, or stands where none may.

    Example:
        >>> parse_csv('network,ms\\n"[0, 1]", 1.5\\n')
        [(1, ['network', 'ms']), (2, ['[0, 1]', '1.5'])]
    """
    reader = csv.reader(StringIO(text.removeprefix("\ufeff")), strict=True, skipinitialspace=True)
    rows: list[tuple[int, list[str]]] = []
    while True:
        before = reader.line_num
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return rows
        except csv.Error as error:
            raise UnreadableError(f"line {before + 1}: {reason(error)}", before + 1, syntax=True) from None
        if any(cells):
            rows.append((reader.line_num, cells))


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _DIGITS else float(digits)


def _bounded(value: Any) -> Any:
    """The value itself, if it is nested no deeper and has no larger numbers than may be."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(DEEPEST):
        inner = [item for held in level for item in (held.values() if isinstance(held, dict) else held)]
        if any(isinstance(item, int) and item.bit_length() > _BITS for item in inner):
            raise UnreadableError("a number has more than 4300 digits")
        level = [item for item in inner if isinstance(item, dict | list)]
        if not level:
            return value
    raise UnreadableError("nested too deeply")
