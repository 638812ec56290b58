"""Reading records: JSON and JSON lines into schemas, with the file, line and key in every message."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from anybudget.errors import RunError, reason, shorten, shown
from anybudget.reading import UnreadableError, parse_json, parse_toml, read_text

M = TypeVar("M", bound=BaseModel)

LARGEST = 1e100
"""The greatest number, of either sign, that a record may have."""

SAID, MUST = "said", "must"
"""The types of errors whose message is complete, and whose message follows the key."""

_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "an object",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "an object",
    "string_type": "a text",
    "tuple_type": "a list",
}


def read_record(path: Path, schema: type[M], way_out: str = "") -> M | None:
    """The record in a JSON file; None where there is no such file.

    Args:
        path: the file.
        schema: what it has to be.
        way_out: how messages on a damaged file end.

    Raises:
        RunError: the file cannot be read, is no JSON, or not of the schema; names the line or the key.
    """
    text = read_whole(path, way_out)
    return None if text is None else checked(_parse(text, str(path), None, way_out), schema, str(path), way_out)


def read_records(path: Path, schema: type[M], way_out: str = "") -> Iterator[M]:
    """The record of every line that is not blank; none where there is no such file.

    Raises:
        RunError: see `read_record`.
    """
    for number, line in enumerate((read_whole(path, way_out) or "").split("\n"), start=1):
        if line.strip():
            where = f"{path}, line {number}"
            yield checked(_parse(line, where, number, way_out), schema, where, way_out)


def checked(values: object, schema: type[M], where: str, way_out: str = "") -> M:
    """Plain data as a record; `where` names them in messages, which end with `way_out`.

    Raises:
        RunError: they are not of the schema.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        said = _message(error.errors(include_url=False)[0])
        raise RunError(f"{where}: {said}{way_out and f'; {way_out}'}") from None


def read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of a TOML file, and what it says."""
    text = read_whole(path) or ""
    try:
        return text, parse_toml(text)
    except UnreadableError as error:
        raise RunError(f"{path}: not TOML: {error}") from None


def read_whole(path: Path, way_out: str = "") -> str | None:
    """The text of a file; None where there is no such file.

    Raises:
        RunError: it cannot be read, or is no UTF-8.
    """
    try:
        return read_text(path)
    except FileNotFoundError:
        return None
    except (OSError, UnreadableError) as error:
        line = error.line if isinstance(error, UnreadableError) else None
        where, problem = (f"{path}, line {line}", "not UTF-8 text") if line else (path, "cannot be read")
        raise RunError(f"{where}: {problem}: {reason(error)}{way_out and f'; {way_out}'}") from None


def _parse(text: str, where: str, first_line: int | None, way_out: str) -> dict[str, Any]:
    try:
        found = parse_json(text)
    except UnreadableError as error:
        line = f", line {error.line}" if error.line and first_line is None else ""
        raise RunError(f"{where}{line}: not JSON: {error}{way_out and f'; {way_out}'}") from None
    if not isinstance(found, dict):
        said = f"{where}: expected a JSON object, found {shown(found)}"
        raise RunError(f"{said}{way_out and f'; {way_out}'}")
    return found


def _message(error: ErrorDetails) -> str:
    """What is wrong with a record, beginning with the key."""
    kind, found, place = error["type"], error["input"], error["loc"]
    if kind == "missing":
        there = ", ".join(found) if isinstance(found, dict) else ""
        return f'{_named(place[:-1], ": ")}lacks "{place[-1]}"; found {shorten(there) or "nothing"}'
    if kind == SAID:
        return f"{_named(place, ': ')}{error['msg']}"
    if kind == MUST:
        return f"{_named(place)} {error['msg']}"
    what = f"must be {_EXPECTED[kind]}" if kind in _EXPECTED else error["msg"]
    return f"{_named(place)} {what}, found {shown(found)}"


def _named(place: tuple[int | str, ...], end: str = "") -> str:
    """A place in a record for people: `"strategies", item 2: "spent"`."""
    parts: list[str] = []
    for is_item, steps in groupby(place, key=lambda step: isinstance(step, int)):
        if is_item and parts:
            parts[-1] += "".join(f", item {int(step) + 1}" for step in steps)
        else:
            parts += [f'"{step}"' for step in steps]
    return ": ".join(parts) + (end if parts else "")
