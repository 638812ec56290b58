"""The tables `[costs.NAME]` of a recipe: which class and settings each means, and the files that they name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, create_model

from anybudget.costs import COSTS, CostSettings, file_keys
from anybudget.errors import ConfigError, shown
from anybudget.reading import read_bytes, unreadable_as
from anybudget.recipe.sections import CostsSection, Recipe
from anybudget.recipe.tagged import refused, tagged

FILES = "costs"
"""The folder of a run that has the files that its costs name."""


def costs_section(value: Any) -> type[CostsSection]:
    """The type of a table `[costs]` with this value: the settings of the class that each table within it names.

    Raises:
        ConfigError: a cost has a name that no budget can have.
    """
    if not isinstance(value, Mapping):
        return CostsSection
    for name in value:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)?", name):
            raise ConfigError(
                f"costs: {shown(name)}: a budget cannot name it; use letters, digits and _, and one dot to tell costs "
                "of one kind apart, such as latency_ms.phone"
            )
    return _with_tables(**{name: _table(name, table) for name, table in value.items()})


def with_whole_names(data: dict[str, Any]) -> dict[str, Any]:
    """A recipe as plain data in which `[costs.latency_ms.phone]` is the table of the cost `latency_ms.phone`.

    A table within a table of `[costs]` is one of its own, unless the settings of the outer one have such a key.
    """
    found: dict[str, Any] = {}
    for name, table in _tables(data).items():
        inner = {key: value for key, value in table.items() if isinstance(value, dict) and not _has(name, table, key)}
        found |= {f"{name}.{key}": value for key, value in inner.items()}
        if len(inner) < len(table) or not inner:
            found[name] = {key: value for key, value in table.items() if key not in inner}
    others = {name: table for name, table in (data.get("costs") or {}).items() if not isinstance(table, dict)}
    return {**data, "costs": {**others, **found}} if found else data


def _has(name: str, table: Mapping[str, Any], key: str) -> bool:
    """Whether a table `[costs.NAME]` has this key by its settings."""
    kind = _kind(name, table)
    return kind in COSTS and key in COSTS[kind].settings_type.model_fields


@cache
def _with_tables(**tables: Any) -> type[CostsSection]:
    fields: dict[str, Any] = {name: (table, ...) for name, table in tables.items()}
    return create_model("CostsSection", __base__=CostsSection, **fields)


def place_files(data: Mapping[str, Any], folder: Path, whole: Mapping[str, Any]) -> None:
    """Make the paths of files absolute.

    Args:
        data: a recipe, or a part of one, as plain data; changed in place.
        folder: what its paths are relative to.
        whole: the recipe that `data` is a part of, which says the kind of every table.
    """
    for name, table in _tables(data).items():
        for key in _files(name, _tables(whole)[name]):
            if isinstance(table.get(key), str) and table[key]:
                table[key] = str((folder / table[key]).absolute())


def with_copies(recipe: Recipe) -> tuple[Recipe, dict[str, bytes]]:
    """The recipe as a run folder has it, and the files that are copied there, by their paths relative to it.

    The name of a copy has the digest of its content, so that recipes are equal where the contents are. Paths that are
    relative are of a run folder already.

    Raises:
        ConfigError: a file cannot be read.
    """
    files: dict[str, bytes] = {}
    tables: dict[str, BaseModel] = {}
    for name, (_, settings) in recipe.cost_tables().items():
        copied: dict[str, str] = {}
        for key in file_keys(type(settings)):
            path = Path(getattr(settings, key))
            if path.is_absolute():
                with unreadable_as(ConfigError, f"costs.{name}.{key}: {path}", "cannot read the file"):
                    content = read_bytes(path)
                copied[key] = f"{FILES}/{name}.{hashlib.sha256(content).hexdigest()[:12]}{path.suffix}"
                files[copied[key]] = content
        tables[name] = settings.model_copy(update=copied)
    return recipe.model_copy(update={"costs": recipe.costs.model_copy(update=tables)}), files


def _tables(data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The tables `[costs.NAME]` of plain data; what is none is refused elsewhere."""
    costs = data.get("costs")
    return {n: table for n, table in costs.items() if isinstance(table, dict)} if isinstance(costs, dict) else {}


def _table(name: str, value: Any) -> Any:
    """The type of a table `[costs.NAME]` with this value."""
    kind = _kind(name, value)
    if kind not in COSTS:
        given = isinstance(value, Mapping) and "kind" in value
        problem = COSTS.unknown(kind) if given else f"the key is missing; known are {', '.join(COSTS)}"
        return refused(CostSettings, "kind", problem)
    if name in COSTS and kind != name:
        return refused(CostSettings, "kind", f"{name} is a cost that every run has; give this one another name")
    return tagged(COSTS[kind].settings_type, "kind", kind)


def _kind(name: str, value: Any) -> str:
    """The class that a table `[costs.NAME]` names; the one of its own name where it does not say."""
    return str(value.get("kind", name)) if isinstance(value, Mapping) else name


def _files(name: str, table: Mapping[str, Any]) -> list[str]:
    """The keys of a table `[costs.NAME]` that are files."""
    kind = _kind(name, table)
    return file_keys(COSTS[kind].settings_type) if kind in COSTS else []
