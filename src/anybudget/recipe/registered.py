"""What recipes say by registered names, and the tables that settings of what is registered have."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, PlainValidator
from pydantic_core import PydanticCustomError

from anybudget.evaluation.metrics import LOSS, METRICS, metric_names
from anybudget.registry import Registry
from anybudget.settings import Settings

UNKNOWN_NAME = "unknown_name"
"""The type of a problem that a registry says in full, with the value; `key` is the rest of the location."""


def _metric_name(name: str) -> str:
    """A metric by its registered name, or the loss."""
    if name in metric_names():
        return name
    raise PydanticCustomError(UNKNOWN_NAME, "{problem}", {"key": "", "problem": f"{METRICS.unknown(name)}, {LOSS}"})


MetricName = Annotated[str, AfterValidator(_metric_name)]


def registered(registry: Registry[Any]) -> PlainValidator:
    """Takes the names of a registry."""

    def check(value: Any) -> Any:
        if not isinstance(value, str):
            raise PydanticCustomError("string_type", "input should be a valid string")
        if value not in registry:
            raise PydanticCustomError(UNKNOWN_NAME, "{problem}", {"key": "", "problem": registry.unknown(value)})
        return value

    return PlainValidator(check)


def table_of(section: Settings, settings_type: type[Settings], name: str) -> Settings:
    """The table `name` within a section as settings of this type; the defaults where it has none."""
    found = getattr(section, name, None)
    return found if isinstance(found, settings_type) else settings_type()
