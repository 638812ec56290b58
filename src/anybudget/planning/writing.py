"""A planned recipe as a TOML file, with the reason of every value in a comment beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import tomli_w

from anybudget.planning.choice import Choice

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]+")


def commented(tables: Mapping[str, Mapping[str, Choice[Any]]], header: Sequence[str]) -> str:
    """The text of a recipe.

    Args:
        tables: by their names, "" for the keys above all tables.
        header: lines of the comment that it begins with.

    Example:
        >>> print(commented({"": {"name": Choice("cells", "that of the data")}}, ["Planned."]), end="")
        # Planned.
        <BLANKLINE>
        name = "cells" # that of the data
    """
    lines = [_comment(line) for line in header]
    for name, table in tables.items():
        lines += ["", f"[{name}]"] if name else [""]
        lines += [_line(key, choice) for key, choice in table.items()]
    return "\n".join(lines) + "\n"


def _line(key: str, choice: Choice[Any]) -> str:
    """A key with its value, and the reason at the end of the first line."""
    first, *rest = _value(choice.value).split("\n")
    return "\n".join([f"{key} = {first} {_comment(choice.reason)}", *rest])


def _comment(text: str) -> str:
    return f"# {_UNPRINTABLE.sub(' ', text)}".rstrip()


def _value(value: Any) -> str:
    """A value as TOML has it: in one line, but for lists of tables, which have a line for each."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + "".join(f"    {_value(row)},\n" for row in value) + "]"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return tomli_w.dumps({"value": value}).removeprefix("value = ").rstrip("\n")
