"""Tables of a recipe that say which registered class they are for: `[space]` by `name`, `[costs.NAME]` by `kind`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, PlainValidator, create_model
from pydantic_core import PydanticCustomError

from anybudget.recipe.registered import UNKNOWN_NAME


@cache
def tagged(settings: type[BaseModel], key: str, tag: str) -> type[BaseModel]:
    """The settings of a registered class as a table of a recipe: with the key that names the class."""
    fields: dict[str, Any] = {key: (Literal[tag], tag)}
    return create_model(f"{settings.__name__}Section", __base__=settings, **fields)


def refused(settings: type[BaseModel], key: str, problem: str) -> Any:
    """The type of a table whose `key` names no class: it refuses every value.

    Args:
        settings: what such tables are read by.
        key: of the name.
        problem: what is said of it.
    """

    def refuse(value: Any) -> Any:
        if isinstance(value, Mapping):
            raise PydanticCustomError(UNKNOWN_NAME, "{problem}", {"key": f".{key}", "problem": problem})
        raise PydanticCustomError("dict_type", "not a table")

    return Annotated[settings, PlainValidator(refuse)]
