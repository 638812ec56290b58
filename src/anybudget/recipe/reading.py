"""Recipes as files: TOML with a base and overrides, to validated settings and back to plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError, create_model

from anybudget.costs import CostModel
from anybudget.data.sources import READING_KEYS
from anybudget.errors import BudgetError, ConfigError, reason, shown
from anybudget.reading import UnreadableError, read_text, resolved_path, unreadable_as
from anybudget.recipe.assembly import TABLES, recipe_type, registered_settings
from anybudget.recipe.costs import place_files, with_whole_names
from anybudget.recipe.problems import problems
from anybudget.recipe.sections import Recipe
from anybudget.settings import Settings
from anybudget.storage.toml import read_toml, read_value

S = TypeVar("S", bound=Settings)

RUNTIME_KEYS = ("threads", "device", "devices", "nodes", "deterministic", "checkpoint_seconds", "logger")
"""Keys that say how a run is carried out, not what it does: it may be resumed under others."""


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a TOML recipe and apply `key=value` overrides, such as `supernet.epochs=3`.

    A recipe with `base = "other.toml"` holds only what differs from that one, which is found relative to it and lies
    within the folder above its own. Paths of files in `[costs]` are relative to the recipe that says them.

    Raises:
        ConfigError: the file is missing or no TOML, a key is unknown, or a value is wrong; names the key.

    Example:
        >>> load_recipe(Path("recipes/small/nas-bench-macro.toml"), ["supernet.epochs=3"]).supernet.epochs
        3
    """
    return settled_recipe(_whole(path), path, overrides)


def load_unmeasured(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe whose files of costs need not be there yet; budgets in percent stay as they are.

    Raises:
        ConfigError: see `load_recipe`.
    """
    return _parsed(_whole(path), path, overrides)


def _whole(path: Path) -> dict[str, Any]:
    """A recipe as plain data, with what its base says."""
    data = read_recipe(path)
    if "base" in data:
        base = data.pop("base")
        try:
            base_path = _base_path(path, base)
            below = read_recipe(base_path)
        except ConfigError as error:
            raise ConfigError(f"{path}: base: {error}") from None
        if "base" in below:
            raise ConfigError(f"{path}: base: {base} has a base itself; one level is enough")
        place_files(below, base_path.parent, _merged(below, data))
        data = _merged(below, data)
    return data


def settled_recipe(data: dict[str, Any], path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from plain data, which `overrides` change in place; `path` is where it comes from.

    Raises:
        ConfigError: see `load_recipe`.
    """
    recipe = _parsed(data, path, overrides)
    try:
        costs = recipe.build_costs(recipe.build_space(), path.parent)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return _with_limits(recipe, costs, path)


def _parsed(data: dict[str, Any], path: Path, overrides: Sequence[str]) -> Recipe:
    for override in overrides:
        _apply(data, override)
    place_files(data, path.parent, data)
    return parse_recipe(data, str(path))


def _with_limits(recipe: Recipe, costs: Mapping[str, CostModel], path: Path) -> Recipe:
    """The recipe with a limit in the cost's unit for each budget in percent of what the space reaches."""
    if not any("%" in text for text in recipe.search.budgets):
        return recipe
    from anybudget.decoding.reachability import parse_budgets  # which needs SciPy

    try:
        limits = [str(parse_budgets(text, costs)) if "%" in text else text for text in recipe.search.budgets]
    except BudgetError as error:
        raise BudgetError(f"{path}: search.budgets: {error}") from None
    return recipe.model_copy(update={"search": recipe.search.model_copy(update={"budgets": limits})})


def parse_recipe(data: Mapping[str, Any], source: str) -> Recipe:
    """Validate plain data as a recipe; `source` names it in errors.

    Raises:
        ConfigError: every wrong key or value, in one message.
    """
    try:
        kind = recipe_type(data)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    try:
        recipe = kind.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{source}: {'; '.join(problems(error, kind))}") from None
    try:
        recipe.budget_sets(lambda _cost: (1.0, 2.0))  # what percentages come to is known with the costs
        recipe.build_space()
    except BudgetError as error:
        raise BudgetError(f"{source}: search.budgets: {error}") from None
    except ConfigError as error:
        raise ConfigError(f"{source}: space: {error}") from None
    contradictions = list(recipe.contradictions())
    if contradictions:
        raise ConfigError(f"{source}: {'; '.join(contradictions)}")
    return recipe


def overridden(settings: S, table: str, overrides: Sequence[str]) -> S:
    """The settings of one table with `key=value` overrides of it, such as `detect.epochs=3`, checked as a recipe's are.

    Raises:
        ConfigError: an override is of another table, a key is unknown, or a value is wrong; names the key.
    """
    data: dict[str, Any] = {table: settings.model_dump(mode="json")}
    kind: type[BaseModel] = create_model("Table", __base__=Settings, **{table: (type(settings), ...)})  # type: ignore[call-overload]
    for override in overrides:
        if override.partition(".")[0].strip() != table:
            raise ConfigError(f"--set {shown(override)}: here [{table}] alone can be changed: {table}.KEY=VALUE")
        _apply(data, override)
    try:
        found: S = getattr(kind.model_validate(data), table)
    except ValidationError as error:
        raise ConfigError(f"--set: {'; '.join(problems(error, kind))}") from None
    wrong = list(found.problems(table))
    if wrong:
        raise ConfigError("; ".join(wrong))
    return found


def resolved(recipe: Recipe) -> dict[str, Any]:
    """The recipe with every default filled in, as plain data."""
    return recipe.model_dump(mode="json")


def reproducibility_settings(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe decides the results, as plain data: all but `RUNTIME_KEYS`, `READING_KEYS` and which images.

    The latter is said by the digest of the data (see `anybudget.runs.data_identity`), wherever they lie and whatever a
    source made them of.
    """
    return recipe.model_dump(
        mode="json", exclude={**dict.fromkeys(RUNTIME_KEYS, True), "data": {"source", *READING_KEYS, *TABLES["data"]}}
    )


def read_recipe(path: Path) -> dict[str, Any]:
    """What a TOML file holds, unchecked.

    Raises:
        ConfigError: it is missing, or no TOML.
    """
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such recipe; {_likely_recipe(path)}") from None
    except IsADirectoryError:
        run = (path / "recipe.toml").is_file()
        raise ConfigError(
            f"{path}: cannot read the recipe: "
            + (
                f"this is a run folder; to resume the run: anybudget run {path / 'recipe.toml'} --out {path}"
                if run
                else "Is a directory; give a TOML file such as recipes/demo.toml, or a data set"
            )
        ) from None
    except (OSError, UnreadableError) as error:
        raise ConfigError(
            f"{path}: cannot read the recipe: {reason(error)}; give a TOML file such as recipes/demo.toml"
        ) from None
    return with_whole_names(read_toml(text, path))


def _likely_recipe(path: Path) -> str:
    """What may have been meant by a path where no recipe is."""
    found: dict[str, Path] = {}
    for folder in (path.parent, path.parent / "recipes", Path("recipes")):
        found |= {other.stem: other for other in sorted(folder.glob("*.toml")) if other.stem not in found}
    close = get_close_matches(path.name.removesuffix(".toml"), found, n=1)
    return f"did you mean {found[close[0]]}?" if close else "the project's own are in recipes/"


def _base_path(path: Path, base: Any) -> Path:
    """Where the base of the recipe at `path` is: a recipe that is handed on must not read files of all the machine."""
    if not isinstance(base, str) or not base.endswith(".toml") or Path(base).is_absolute():
        raise ConfigError(
            f'expected the path of a recipe, relative to this one, such as "../demo.toml", found {shown(base)}'
        )
    found = path.parent / base
    with unreadable_as(ConfigError, shown(base), "cannot be a path"):
        inside = resolved_path(found).is_relative_to(path.parent.resolve().parent)
    if not inside:
        raise ConfigError(
            f"{shown(base)}: leads out of {path.parent.resolve().parent}, the folder above this recipe's own; "
            "copy the base there"
        )
    return found


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` with every key of `above` put over it, table by table."""
    found = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(found.get(key), Mapping)
        found[key] = _merged(found[key], value) if both else value
    return found


def _apply(data: dict[str, Any], override: str) -> None:
    """Set one key of plain data as `--set` says it; the type of the key decides how the value is read."""
    key, separator, text = override.partition("=")
    path = [part.strip() for part in key.split(".")]
    if path[0] == "costs" and ".".join(path[1:3]) in _costs(data):
        path[1:3] = [".".join(path[1:3])]
    if not separator or not all(path):
        raise ConfigError(f"--set {shown(override)}: write key=value, such as supernet.epochs=3")
    try:
        override.encode()  # what the shell hands over need not be UTF-8, but a recipe is
        value = read_value(".".join(path), text, _kind(path, data))
    except UnicodeEncodeError as error:
        raise ConfigError(f"--set {shown(override)}: {reason(error)}; give it in UTF-8") from None
    except ConfigError as error:
        raise ConfigError(f"--set {shown(override)}: {error}") from None
    for part in path[:-1]:
        data = data.setdefault(part, {})
        if not isinstance(data, dict):
            raise ConfigError(f"--set {shown(override)}: {shown(part)} is a value, not a table")
    data[path[-1]] = value


def _costs(data: Mapping[str, Any]) -> Mapping[str, Any]:
    found = data.get("costs")
    return found if isinstance(found, Mapping) else {}


def _kind(path: Sequence[str], data: Mapping[str, Any]) -> Any:
    """The type of the key at `path` in a recipe with this `data`; None where there is no such key."""
    if list(path) == ["space", "name"] or (len(path) == 3 and (path[0], path[2]) == ("costs", "kind")):
        return str
    if len(path) > 2 and (settings := registered_settings(path[0], path[1])) is not None:
        kind: Any = settings
        path = path[2:]
    else:
        kind = recipe_type(data)
    for part in path:
        if not isinstance(kind, type) or not issubclass(kind, BaseModel) or part not in kind.model_fields:
            return None
        kind = kind.model_fields[part].annotation
    return kind
