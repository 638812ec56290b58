"""What is wrong with a recipe, in words of TOML: the key, what was expected, and what was probably meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from anybudget.errors import shorten, shown
from anybudget.recipe.assembly import TABLES
from anybudget.recipe.registered import UNKNOWN_NAME


def problems(error: ValidationError, kind: type[BaseModel]) -> list[str]:
    """Every problem that pydantic found in a recipe, or another file of this kind, in words of recipes."""
    found = error.errors(include_url=False)
    # A list in which no item is valid is also said to be too short; that helps nobody.
    inner = [details for details in found if not any(_is_within(other["loc"], details["loc"]) for other in found)]
    return [_problem(details, kind) for details in inner]


def _problem(details: Any, kind: type[BaseModel]) -> str:
    path = details["loc"]
    location = shorten(".".join(map(str, path)))
    if details["type"] == "extra_forbidden":
        known = _known_keys(kind, path[:-1])
        close = get_close_matches(str(path[-1]), known, n=1)
        if close:
            return f"unknown key {location}; did you mean {close[0]}?"
        elsewhere = _homes(path[-1], kind) if len(path) <= 2 else []
        return f"unknown key {location}; " + (
            f"did you mean {', '.join(elsewhere)}?" if elsewhere else f"known are {', '.join(known)}"
        )
    if details["type"] == "missing":
        return f"key {location} is missing"
    if details["type"] == UNKNOWN_NAME:
        return f"{location}{details['ctx']['key']}: {details['msg']}"
    expected = _EXPECTED.get(details["type"]) or f"{details['msg'][0].lower()}{details['msg'][1:]}"
    return f"{location}: {expected}, found {shown(details['input'])}"


_EXPECTED = {
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "input should be a table"),
    **dict.fromkeys(("list_type", "tuple_type"), "input should be a list"),
    "too_short": "the list should have at least one item",
    "string_too_short": "the text must not be empty",
}
"""What is said for kinds of problems that pydantic describes in words of Python, not of TOML."""


def _is_within(inner: Sequence[Any], outer: Sequence[Any]) -> bool:
    """Whether one location lies below the other."""
    return len(inner) > len(outer) and tuple(inner[: len(outer)]) == tuple(outer)


def _homes(key: Any, kind: type[BaseModel]) -> list[str]:
    """Where a recipe of this kind has such a key: in its tables, or else in the tables within these."""
    tables = _tables(kind)
    inner = {f"{name}.{table}": model for name in tables for table, model in _tables(tables[name]).items()}
    found = [
        [f"{name}.{key}" for name, model in level.items() if key in model.model_fields] for level in (tables, inner)
    ]
    return found[0] or found[1]


def _tables(kind: type[BaseModel]) -> Mapping[str, type[BaseModel]]:
    """The tables within a table."""
    found = {name: field.annotation for name, field in kind.model_fields.items()}
    return {name: table for name, table in found.items() if isinstance(table, type) and issubclass(table, BaseModel)}


def _known_keys(kind: type[BaseModel], path: Sequence[Any]) -> list[str]:
    """The keys of the table at `path`, a location as pydantic gives it, below a recipe of this kind."""
    for part in path:
        if isinstance(part, str):
            annotation: Any = kind.model_fields[part].annotation
            kind = get_args(annotation)[0] if get_args(annotation) else annotation
    registry = TABLES.get(path[0]) if len(path) == 1 else None
    registered = [] if registry is None else [name for name in registry if name not in registry.builtin]
    return list(dict.fromkeys((*kind.model_fields, *registered)))
