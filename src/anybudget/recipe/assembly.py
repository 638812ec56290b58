"""The type of a recipe, put together from the settings of the classes that are registered when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, Field, create_model

from anybudget.data.sources import SOURCES
from anybudget.errors import ConfigError
from anybudget.recipe.costs import costs_section
from anybudget.recipe.sections import Recipe, space_name
from anybudget.recipe.tagged import refused, tagged
from anybudget.registry import Registry
from anybudget.search import STRATEGIES
from anybudget.settings import Settings
from anybudget.spaces import SPACES
from anybudget.spaces import Settings as SpaceSettings
from anybudget.training import SAMPLERS

TABLES: Mapping[str, Registry[Any]] = {"data": SOURCES, "supernet": SAMPLERS, "search": STRATEGIES}
"""Sections that hold one table for each registered class, such as `[search.evolution]`."""


def recipe_type(data: Mapping[str, Any]) -> type[Recipe]:
    """`Recipe` with a table for what is built in, and for every other registered class that this data sets.

    So a class of an installed package is imported only by a recipe that names it.

    Raises:
        ConfigError: a class cannot be imported, or is registered by the name of a key.
    """
    fields: dict[str, Any] = {section: _section(section, data.get(section)) for section in TABLES}
    if "space" in data:
        fields["space"] = space_section(data["space"])
    if data.get("costs"):
        fields["costs"] = costs_section(data["costs"])
    return _with_sections(**fields)


def space_section(value: Any) -> Any:
    """The type of a table `[space]` with this value: the settings of the space that it names, and the name.

    Raises:
        ConfigError: a package that is installed has that space, and cannot be imported.
    """
    name = space_name(value)
    if isinstance(name, str) and name in SPACES:
        return tagged(SPACES[name].settings_type, "name", name)
    return refused(SpaceSettings, "name", SPACES.unknown(name))


def registered_settings(section: str, name: str) -> type[Settings] | None:
    """The settings of the table `[section.name]`; None where nothing of this name can be set."""
    registry = TABLES.get(section)
    if registry is None or name not in registry:
        return None
    settings: type[Settings] | None = registry.settings_of(name)
    return settings if settings is not None and settings.model_fields else None


def _section(section: str, value: Any) -> type[BaseModel]:
    """A section with the tables of its registry."""
    base: type[BaseModel] = Recipe.model_fields[section].annotation  # type: ignore[assignment]
    for name in TABLES[section]:
        if name in base.model_fields:
            kind = TABLES[section].kind
            raise ConfigError(f"{kind} {name!r}: [{section}] has a key of this name; register it by another name")
    given = value if isinstance(value, Mapping) else {}
    found = {name: registered_settings(section, name) for name in (*TABLES[section].builtin, *given)}
    return _with_tables(base, **{name: settings for name, settings in found.items() if settings})


@cache
def _with_tables(section: type[BaseModel], **tables: type[Settings]) -> type[BaseModel]:
    fields: dict[str, Any] = {name: (settings, settings()) for name, settings in tables.items()}
    found = create_model(section.__name__, __base__=section, **fields)
    found.UNSAID = found.UNSAID | {name for name, settings in tables.items() if settings.TABLE_UNSAID}  # type: ignore[attr-defined]
    return found


@cache
def _with_sections(**sections: Any) -> type[Recipe]:
    # A section that may be left out, as [data], still may.
    needed = {name for name, field in Recipe.model_fields.items() if field.is_required()}
    fields: dict[str, Any] = {
        name: (section, Field() if name in needed else Field(default_factory=section))
        for name, section in sections.items()
    }
    return create_model("Recipe", __base__=Recipe, **fields)
