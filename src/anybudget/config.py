"""Owns recipes: TOML in, validated and typed stage settings out; an unknown key is an error."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, create_model

from anybudget.budgets import BudgetSet
from anybudget.errors import BudgetError, ConfigError
from anybudget.spaces import SPACES, SearchSpace, Settings
from anybudget.spaces.blocks import ActivationName
from anybudget.spaces.settings import Count, Natural

Fraction = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """One table of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataSection(Section):
    """`[data]`: where the images come from and how they are split."""

    source: str = "fashion-mnist-subset"
    validation_fraction: Fraction = 0.15
    test_fraction: Fraction = 0.15


def _space_section(space: type[SearchSpace]) -> Any:
    """The space's own settings as a table of a recipe: with its name."""
    fields: dict[str, Any] = {"name": (Literal[space.name], space.name)}
    section = create_model(f"{space.__name__}Section", __base__=space.settings_type, **fields)
    return Annotated[section, Tag(space.name)]


def _space_name(value: Any) -> Any:
    """Which space a `[space]` table describes; `unified` when it does not say."""
    return value.get("name", "unified") if isinstance(value, dict) else getattr(value, "name", None)


if TYPE_CHECKING:
    SpaceSection = Settings
else:
    SpaceSection = Annotated[reduce(or_, map(_space_section, SPACES.values())), Discriminator(_space_name)]
"""`[space]`: the search space and its settings; one kind for each registered space."""


class TrainingSection(Section):
    """What supernet training and retraining share."""

    epochs: Count
    batch_size: Count
    learning_rate: Rate
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NonNegative = 4e-5
    nesterov: bool = False
    warmup_epochs: NonNegative = 0.0
    crop_padding: Natural = 0
    flip: bool = False


class GreedySection(Section):
    """`[supernet.greedy]`: path filtering and the candidate pool of the sampler `greedy`."""

    sampled: Count = 10
    kept: Count = 5
    score_images: Count = 1000
    pool_size: Count = 1000
    pool_probability: Annotated[float, Field(ge=0, le=1)] = 0.8
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.2
    window: Natural = 100
    stop_share: Annotated[float, Field(ge=0, le=1)] = 0.08


class SupernetSection(TrainingSection):
    """`[supernet]`: how the shared weights are trained."""

    sampler: Literal["fair", "fair-canonical", "uniform", "greedy"] = "fair"
    paths_per_step: Count = 1
    greedy: GreedySection = GreedySection()


class GeneratorSection(Section):
    """`[generator]`: how the architecture generator is trained."""

    cost: str = "macs"
    epochs: Count = 50
    batch_size: Count = 128
    learning_rate: Rate = 1e-3
    temperature: Rate = 5.0
    temperature_decay: Annotated[float, Field(gt=0, le=1)] = 0.95
    penalty: NonNegative = 10.0
    straight_through: bool = False
    budgets_per_step: Count = 16
    networks_per_step: Count = 1
    hidden: Count = 32
    random_prior: bool = True


class EvolutionSection(Section):
    """`[search.evolution]`: the strategy `evolution`."""

    population: Annotated[int, Field(ge=2)] = 50
    generations: Count = 20
    parents: Count = 10
    mutation: Annotated[float, Field(gt=0, le=1)] = 0.1


class NSGA2Section(Section):
    """`[search.nsga2]`: the strategy `nsga2`; `from_pool` starts from the candidate pool of a greedy supernet."""

    population: Annotated[int, Field(ge=2)] = 50
    generations: Count = 20
    from_pool: bool = True


class RefinedSection(Section):
    """`[search.refined]`: the strategy `refined`: candidates of the generator per budget, then relatives in rounds."""

    candidates: Count = 20
    rounds: Natural = 8
    per_round: Count = 8


class DirectSection(Section):
    """`[search.direct]`: the strategy `direct`, which otherwise trains as `[generator]` says."""

    learning_rate: Rate = 0.05


class LinearSection(Section):
    """`[search.linear]`: the strategy `linear`: how many paths the model is fitted to, and how many are judged."""

    samples: Annotated[int, Field(ge=10)] = 200
    candidates: Count = 10


class SearchSection(Section):
    """`[search]`: which budgets are asked for, and how candidates are judged."""

    budgets: Annotated[list[str], Field(min_length=1)]
    priors: Count = 8
    candidates: Count = 40
    min_use: Annotated[float, Field(ge=0, le=1)] = 0.985
    calibration_images: Count = 1024
    random_baseline: Natural = 50
    evolution: EvolutionSection = EvolutionSection()
    nsga2: NSGA2Section = NSGA2Section()
    refined: RefinedSection = RefinedSection()
    direct: DirectSection = DirectSection()
    linear: LinearSection = LinearSection()


class RetrainSection(TrainingSection):
    """`[retrain]`: which found networks are trained, and how; `picks` are positions in `search.budgets` from 1.

    `activation` and `se_reduction` change the network that is trained (see `anybudget.spaces.derive`): it is no longer
    the one that was searched, has no inherited weights, and may cost more than was asked for.
    """

    picks: list[Count] = []
    inherit: bool = False
    activation: ActivationName | Literal[""] = ""
    se_reduction: Natural = 0


class Recipe(Section):
    """Everything a run needs to know."""

    name: str
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    threads: Natural = 0
    device: str = "auto"
    data: DataSection = DataSection()
    space: SpaceSection
    supernet: SupernetSection
    generator: GeneratorSection = GeneratorSection()
    search: SearchSection
    retrain: RetrainSection

    def build_space(self) -> SearchSpace:
        """The search space of `[space]`.

        Raises:
            ConfigError: the settings contradict each other.
        """
        return SPACES[_space_name(self.space)](self.space)

    def budget_sets(self) -> list[BudgetSet]:
        """The budgets of `[search]`, parsed."""
        return [BudgetSet.parse(text) for text in self.search.budgets]


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a TOML recipe and apply `key=value` overrides, such as `supernet.epochs=3`.

    A recipe with `base = "other.toml"` holds only what differs from that one, which is found relative to it.

    Raises:
        ConfigError: the file is missing or no TOML, a key is unknown, or a value is wrong; names the key.
    """
    data = _read(path)
    if "base" in data:
        base = data.pop("base")
        if not isinstance(base, str):
            raise ConfigError(f"{path}: base: expected the path of a recipe, relative to this one, found {base!r}")
        below = _read(path.parent / base)
        if "base" in below:
            raise ConfigError(f"{path}: base: {base} has a base itself; one level is enough")
        data = _merged(below, data)
    for override in overrides:
        _apply(data, override)
    return parse_recipe(data, str(path))


def parse_recipe(data: Mapping[str, Any], source: str) -> Recipe:
    """Validate plain data as a recipe; `source` names it in errors.

    Raises:
        ConfigError: every wrong key or value, in one message.
    """
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        problems = "; ".join(_problem(details) for details in error.errors())
        raise ConfigError(f"{source}: {problems}") from None
    try:
        budgets = recipe.budget_sets()
        recipe.build_space()
    except BudgetError as error:
        raise BudgetError(f"{source}: search.budgets: {error}") from None
    except ConfigError as error:
        raise ConfigError(f"{source}: space: {error}") from None
    greedy = recipe.supernet.greedy
    if greedy.kept > greedy.sampled:
        raise ConfigError(
            f"{source}: supernet.greedy.kept: {greedy.kept} paths cannot be kept of {greedy.sampled} sampled ones"
        )
    beyond = [pick for pick in recipe.retrain.picks if pick > len(budgets)]
    if beyond:
        raise ConfigError(
            f"{source}: retrain.picks: {beyond[0]} is beyond the {len(budgets)} budgets of search.budgets"
        )
    return recipe


def resolved(recipe: Recipe) -> dict[str, Any]:
    """The recipe with every default filled in, as plain data."""
    return recipe.model_dump(mode="json")


def differences(first: Mapping[str, Any], second: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys whose values differ between two resolved recipes, with both values."""
    found = []
    for key in sorted({*first, *second}):
        before, after = first.get(key), second.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix}{key}: {before!r} -> {after!r}")
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such recipe; the project's own are in recipes/") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read the recipe: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` with every key of `above` put over it, table by table."""
    found = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(found.get(key), Mapping)
        found[key] = _merged(found[key], value) if both else value
    return found


def _apply(data: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not separator or not all(path):
        raise ConfigError(f"--set {override!r}: write key=value, such as supernet.epochs=3")
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()  # a bare word is a text, so that paths need no quotes
    for part in path[:-1]:
        data = data.setdefault(part, {})
        if not isinstance(data, dict):
            raise ConfigError(f"--set {override!r}: {part!r} is a value, not a table")
    data[path[-1]] = value


def _problem(details: Any) -> str:
    path = _without_tag(details["loc"])
    location = ".".join(map(str, path))
    if details["type"] == "extra_forbidden":
        known = _known_keys(details["loc"][:-1])
        close = get_close_matches(str(path[-1]), known, n=1)
        return f"unknown key {location}" + (
            f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"
        )
    if details["type"] == "missing":
        return f"key {location} is missing"
    if details["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return f"space.name: unknown search space {_space_name(details['input'])!r}; known are {', '.join(SPACES)}"
    return f"{location}: {details['msg'][0].lower()}{details['msg'][1:]}, found {details['input']!r}"


def _without_tag(path: Sequence[Any]) -> Sequence[Any]:
    """The location without the name of the space, which pydantic puts behind `space`."""
    return (path[0], *path[2:]) if path[:1] == ("space",) and len(path) > 1 else path


def _known_keys(path: Sequence[Any]) -> list[str]:
    """The keys of the table at `path`, a location as pydantic gives it."""
    model: type[BaseModel] = Recipe
    if path[:1] == ("space",):
        model, path = SPACES[path[1]].settings_type, path[2:]
    for part in path:
        if isinstance(part, str):
            annotation: Any = model.model_fields[part].annotation
            model = get_args(annotation)[0] if get_args(annotation) else annotation
    return list(model.model_fields)
