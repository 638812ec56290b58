"""Files of costs as pydantic records: what is wrong with one is said in words of JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from anybudget.errors import AnyBudgetError, ConfigError, shown

R = TypeVar("R", bound=BaseModel)

_PROBLEMS = 5
"""How many problems of a file one message names."""


def as_record(
    kind: type[R], found: Mapping[str, Any], where: str, way_out: str, error: type[AnyBudgetError] = ConfigError
) -> R:
    """What a file holds as a record, checked.

    Args:
        kind: the record's class.
        found: the values of its keys, as the file has them.
        where: the file, as messages begin.
        way_out: how messages end.
        error: what is raised.

    Raises:
        error: a key is missing or unknown, or a value is wrong; names the keys and the values.

    Example:
        >>> class Speed(BaseModel):
        ...     ms: float
        >>> as_record(Speed, {"ms": 3}, "file: speed.json", "measure it")
        Speed(ms=3.0)
        >>> as_record(Speed, {}, "file: speed.json", "measure it")
        Traceback (most recent call last):
        anybudget.errors.ConfigError: file: speed.json: key ms is missing; measure it
    """
    try:
        return kind.model_validate(found)
    except ValidationError as problems:
        said = "; ".join(map(_problem, problems.errors(include_url=False)[:_PROBLEMS]))
        raise error(f"{where}: {said}; {way_out}") from None


def _problem(details: Any) -> str:
    location = ".".join(map(str, details["loc"]))
    if details["type"] == "missing":
        return f"key {location} is missing"
    if details["type"] == "extra_forbidden":
        return f"unknown key {location}"
    return f"{location}: {details['msg'][0].lower()}{details['msg'][1:]}, found {shown(details['input'])}"
