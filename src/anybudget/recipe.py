"""Recipes: TOML in, validated and typed stage settings out; an unknown key is an error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError

from anybudget.budgets import BudgetSet, unknown_cost
from anybudget.costs import cost_names
from anybudget.errors import BudgetError, ConfigError, reason, shorten, shown
from anybudget.evaluation.metrics import METRICS, TOP1
from anybudget.reading import UnreadableError, read_text
from anybudget.runtime.batch_parts import FEWEST, batch_problem
from anybudget.spaces import SPACES, SearchSpace, Settings
from anybudget.spaces.blocks import ActivationName, underivable
from anybudget.spaces.settings import Channels, Count, Natural
from anybudget.storage.toml import read_toml, read_value

# A norm needs two values, and a map may be a single pixel.
Images = Annotated[int, Field(ge=FEWEST, le=10**9)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
# Bounded like counts: beyond these, what torch computes with 32 bits overflows.
Rate = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


def _paths_per_step(value: Any) -> Any:
    """A whole number, or the word for all paths of a round."""
    if value == "round" or (type(value) is int and 1 <= value <= 10**9):
        return value
    raise PydanticCustomError("paths_per_step", 'input should be a whole number from 1 to 1000000000, or "round"')


PathsPerStep = Annotated[int | Literal["round"], PlainValidator(_paths_per_step)]


def _metric_name(name: str) -> str:
    """A metric by its registered name."""
    if name in METRICS:
        return name
    raise PydanticCustomError("metric", "{problem}", {"problem": METRICS.unknown(name)})


MetricName = Annotated[str, AfterValidator(_metric_name)]

WITHOUT_ROUNDS = ("uniform",)
"""Samplers that draw paths one at a time."""


class Section(BaseModel):
    """One table of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataSection(Section):
    """`[data]`: where the images come from and how they are split.

    `skip_unreadable` is how many images of class folders may be left out because they cannot be decoded; each is named
    in a warning. `val` says what a folder `val` beside `train` is where there is no `test`: the test split, with
    validation images drawn from `train`, or the validation split. Both have no effect on other sources.
    """

    source: Annotated[str, Field(min_length=1)] = "fashion-mnist-subset"
    validation_fraction: Fraction = 0.15
    test_fraction: Fraction = 0.15
    skip_unreadable: Natural = 0
    val: Literal["test", "validation"] = "test"

    def contradictions(self) -> Iterator[str]:
        """What the settings say against each other, each with the keys."""
        if self.validation_fraction + self.test_fraction >= 1:
            yield (
                f"data.validation_fraction: {self.validation_fraction} and data.test_fraction {self.test_fraction} "
                "leave nothing to train on; choose them so that their sum is below 1"
            )


@cache
def _tagged(kind: type[BaseModel], key: str, tag: str) -> type[BaseModel]:
    """The settings of a registered class as a table of a recipe: with the key that names the class."""
    fields: dict[str, Any] = {key: (Literal[tag], tag)}
    return create_model(f"{kind.__name__}Section", __base__=kind, **fields)


def space_section(value: Any) -> Any:
    """The type of a `[space]` table with this value: the settings of the space that it names, and the name.

    Raises:
        ConfigError: a package that is installed has that space, and cannot be imported.
    """
    name = _space_name(value)
    if isinstance(name, str) and name in SPACES:
        return _tagged(SPACES[name].settings_type, "name", name)
    return Annotated[Settings, PlainValidator(_without_space)]


def _without_space(value: Any) -> Any:
    """Refuse a `[space]` table that names no space."""
    if isinstance(value, Mapping):
        problem = SPACES.unknown(_space_name(value))
        raise PydanticCustomError("unknown_name", "{problem}", {"key": "name", "problem": problem})
    raise PydanticCustomError("dict_type", "not a table")


def _space_name(value: Any) -> Any:
    """Which space a `[space]` table describes; `unified` when it does not say."""
    return value.get("name", "unified") if isinstance(value, Mapping) else getattr(value, "name", None)


class TrainingSection(Section):
    """What supernet training and retraining share.

    `batch_size` is that of all processes together; each forwards its share in `accumulate` parts. `rollbacks` is how
    often a loss that is not finite may send training back to the start of its epoch with half the learning rate.
    """

    epochs: Count
    batch_size: Images
    learning_rate: Rate
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NonNegative = 4e-5
    nesterov: bool = False
    warmup_epochs: NonNegative = 0.0
    crop_padding: Natural = 0
    flip: bool = False
    accumulate: Count = 1
    rollbacks: Natural = 0

    def contradictions(self, name: str, image_size: int, processes: int) -> Iterator[str]:
        """What the settings of the table `name` say against each other, images of so many pixels, or the processes."""
        if self.nesterov and not self.momentum:
            yield f"{name}.nesterov: needs a momentum, and {name}.momentum is 0; set one above 0, or nesterov = false"
        if self.warmup_epochs > self.epochs:
            yield (
                f"{name}.warmup_epochs: {self.warmup_epochs:g} are more than the {self.epochs} of {name}.epochs; take "
                "fewer"
            )
        problem = batch_problem(self.batch_size, processes, self.accumulate, section=name)
        if problem:
            yield problem
        if self.crop_padding >= image_size:
            yield (
                f"{name}.crop_padding: {self.crop_padding} pixels around images of {image_size} (space.input_size) "
                "would give crops without any image; take fewer"
            )


class GreedySection(Section):
    """`[supernet.greedy]`: path filtering and the candidate pool of the sampler `greedy`.

    Of `sampled` paths, scored on `score_images` validation images, the best `kept` are trained and enter a pool of
    `pool_size`; later paths come from it with a probability of up to `pool_probability`. Training stops when at most
    `stop_share` of the pool is new after `window` rounds (0: never).

    How long paths are uniform is either `warmup`, a share of all steps, or `warmup_iterations`; how long the pool's
    probability then grows is either `ramp`, a share of the steps after the warm-up, or `ramp_iterations`. Iterations
    that are given replace the default share; both at once are refused.
    """

    sampled: Count = 10
    kept: Count = 5
    score_images: Count = 1000
    pool_size: Count = 1000
    pool_probability: Annotated[float, Field(ge=0, le=1)] = 0.8
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.2
    warmup_iterations: Natural = 0
    ramp: Annotated[float, Field(ge=0, le=1)] = 1.0
    ramp_iterations: Natural = 0
    window: Natural = 100
    stop_share: Annotated[float, Field(ge=0, le=1)] = 0.08

    @model_validator(mode="before")
    @classmethod
    def _iterations_replace_shares(cls, data: Any) -> Any:
        """No share by default where iterations are given, so that a resolved recipe says one of both, too."""
        if isinstance(data, dict):
            replaced = {share: 0.0 for share in ("warmup", "ramp") if data.get(f"{share}_iterations")}
            return {**replaced, **data}
        return data

    def contradictions(self) -> Iterator[str]:
        """What the settings say against each other, each with the keys."""
        if self.kept > self.sampled:
            yield f"supernet.greedy.kept: {self.kept} paths cannot be kept of {self.sampled} sampled ones"
        for name, share, iterations in (
            ("warmup", self.warmup, self.warmup_iterations),
            ("ramp", self.ramp, self.ramp_iterations),
        ):
            if share and iterations:
                yield (
                    f"supernet.greedy.{name}: a share of {share:g} and {iterations} iterations "
                    f"(supernet.greedy.{name}_iterations) are two lengths; give one of them, or set the other to 0"
                )


class SupernetSection(TrainingSection):
    """`[supernet]`: how the shared weights are trained.

    The `sampler` is "fair" (rounds that train every operation of every slot equally often, in all path encodings),
    "fair-canonical" (the same in canonical encodings), "uniform" (choices drawn uniformly, one path at a time) or
    "greedy" (the best of several uniform paths and of a pool). A step trains `paths_per_step` paths on one batch and
    adds up their gradients; with "round" it trains a whole round: a fair one, or the paths that greedy filtering keeps.
    With `same_paths = false` several processes train paths of their own in a step.
    """

    sampler: Literal["fair", "fair-canonical", "uniform", "greedy"] = "fair"
    paths_per_step: PathsPerStep = 1
    same_paths: bool = True
    greedy: GreedySection = GreedySection()

    def contradictions(self, name: str, image_size: int, processes: int) -> Iterator[str]:
        """See `TrainingSection.contradictions`; also what the sampler cannot do."""
        yield from super().contradictions(name, image_size, processes)
        yield from self.greedy.contradictions()
        if self.paths_per_step == "round" and self.sampler in WITHOUT_ROUNDS:
            yield (
                f'{name}.paths_per_step: "round" needs a sampler with rounds, and {shown(self.sampler)} draws paths '
                f"one at a time; give a number of paths, or another {name}.sampler"
            )


class GeneratorSection(Section):
    """`[generator]`: how the architecture generator is trained.

    A step has `budgets_per_step` budgets; the first `networks_per_step` of them, no more than there are, have their
    relaxed architecture run on the images.
    """

    cost: str = "macs"
    epochs: Count = 50
    batch_size: Images = 128
    learning_rate: Rate = 1e-3
    temperature: Annotated[float, Field(ge=1e-6, le=1e6)] = 5.0
    temperature_decay: Annotated[float, Field(gt=0, le=1)] = 0.95
    penalty: NonNegative = 10.0
    straight_through: bool = False
    budgets_per_step: Count = 16
    networks_per_step: Count = 1
    hidden: Channels = 32
    random_prior: bool = True
    rollbacks: Natural = 0


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
    """`[search.refined]`: the strategy `refined`: candidates of the generator per budget, then offspring in rounds."""

    candidates: Count = 20
    rounds: Natural = 8
    per_round: Count = 8


class DirectSection(Section):
    """`[search.direct]`: the strategy `direct`, which otherwise trains as `[generator]` says."""

    learning_rate: Rate = 0.05


class LinearSection(Section):
    """`[search.linear]`: the strategy `linear`: how many paths the model is fitted to, and how many are evaluated."""

    samples: Annotated[int, Field(ge=10)] = 200
    candidates: Count = 10


class SearchSection(Section):
    """`[search]`: which budgets are asked for, and how candidates are evaluated.

    Networks are chosen by `metric`, a figure where higher is better.
    `min_use` is the least share of a budget that every strategy has to use, 0 for none. `random_window` belongs to the
    random baseline alone, whose networks are to be of about the same cost: the least share that each of them uses.
    """

    budgets: Annotated[list[str], Field(min_length=1)]
    priors: Count = 8
    candidates: Count = 40
    min_use: Annotated[float, Field(ge=0, le=1)] = 0.0
    metric: MetricName = TOP1
    calibration_images: Images = 1024
    random_baseline: Natural = 50
    random_window: Annotated[float, Field(ge=0, le=1)] = 0.9
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
    activation: Literal[ActivationName, ""] = ""
    se_reduction: Natural = 0


RUNTIME_KEYS = ("threads", "device", "devices", "nodes", "checkpoint_seconds")
"""Keys that say how a run is carried out, not what it does: it may be resumed under others."""


class Recipe(Section):
    """Everything a run needs to know.

    Training runs in `devices` processes on each of `nodes` machines, in `precision` (32-true, bf16-mixed or 16-mixed),
    and saves itself every `checkpoint_seconds`; 0 after every step.
    """

    name: Annotated[str, Field(min_length=1)]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    device: Annotated[str, Field(min_length=1)] = "auto"
    devices: Annotated[int, Field(ge=1, le=1024)] = 1
    nodes: Annotated[int, Field(ge=1, le=1024)] = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    checkpoint_seconds: NonNegative = 300.0
    data: DataSection = DataSection()
    space: Settings
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
        return [BudgetSet.parse(text, cost_names()) for text in self.search.budgets]

    def contradictions(self) -> Iterator[str]:
        """What the settings say against each other, each with the keys and what would do."""
        kind, _, index = self.device.partition(":")
        if index and kind != "cpu" and self.devices > 1:
            yield (
                f"device: {self.device} is one device, and the {self.devices} processes of devices need one each; take "
                f'device = "{kind}", or devices = 1'
            )
        yield from self.data.contradictions()
        processes = self.devices * self.nodes
        yield from self.supernet.contradictions("supernet", self.space.input_size, processes)
        yield from self.retrain.contradictions("retrain", self.space.input_size, processes)
        problem = batch_problem(self.generator.batch_size, processes, section="generator")
        if problem:
            yield problem
        if self.generator.cost not in cost_names():
            yield f"generator.cost: {unknown_cost(self.generator.cost, cost_names())}"
        if self.generator.networks_per_step > self.generator.budgets_per_step:
            yield (
                f"generator.networks_per_step: {self.generator.networks_per_step} networks are drawn, one for each of "
                f"as many budgets, of which a step has {self.generator.budgets_per_step} (generator.budgets_per_step); "
                "take fewer networks or more budgets"
            )
        yield from self._left_undone()
        picks, budgets = self.retrain.picks, self.search.budgets
        for pick in dict.fromkeys(picks):
            if pick > len(budgets):
                yield f"retrain.picks: {pick} is beyond the {len(budgets)} budgets of search.budgets"
            elif picks.count(pick) > 1:
                yield f"retrain.picks: {pick} is listed more than once; list each budget once"
        if self.retrain.inherit and (self.retrain.activation or self.retrain.se_reduction):
            yield (
                "retrain.inherit: a network with retrain.activation or retrain.se_reduction has no weights to inherit; "
                "set inherit = false, or leave both out"
            )

    def _left_undone(self) -> Iterator[str]:
        """What of `[retrain]` could not be done to the networks of the space."""
        section = self.retrain
        if not (section.activation or section.se_reduction):
            return
        space = self.build_space()
        searched = [factor for factor in space.factors if factor.decisions]
        # The first and the last operation: of all, at most one builds nothing.
        sizes = [[len(space.decisions[decision].choices) for decision in factor.decisions] for factor in searched]
        first = [factor.spec(*(0 for _ in of)) for factor, of in zip(searched, sizes, strict=True)]
        last = [factor.spec(*(size - 1 for size in of)) for factor, of in zip(searched, sizes, strict=True)]
        for text in underivable(
            [*first, *last], activation=section.activation or None, se_reduction=section.se_reduction
        ):
            yield f"retrain.{text}; leave it out for the space {space.name}"


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a TOML recipe and apply `key=value` overrides, such as `supernet.epochs=3`.

    A recipe with `base = "other.toml"` holds only what differs from that one, which is found relative to it and lies
    within the folder above its own.

    Raises:
        ConfigError: the file is missing or no TOML, a key is unknown, or a value is wrong; names the key.
    """
    data = _read(path)
    if "base" in data:
        base = data.pop("base")
        try:
            below = _read(_base_path(path, base))
        except ConfigError as error:
            raise ConfigError(f"{path}: base: {error}") from None
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
    kind = recipe_type(data)
    try:
        recipe = kind.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False)
        # A list in which no item is valid is also said to be too short; that helps nobody.
        inner = [details for details in found if not any(_is_within(other["loc"], details["loc"]) for other in found)]
        raise ConfigError(f"{source}: {'; '.join(_problem(details, kind) for details in inner)}") from None
    try:
        recipe.budget_sets()
        recipe.build_space()
    except BudgetError as error:
        raise BudgetError(f"{source}: search.budgets: {error}") from None
    except ConfigError as error:
        raise ConfigError(f"{source}: space: {error}") from None
    contradictions = list(recipe.contradictions())
    if contradictions:
        raise ConfigError(f"{source}: {'; '.join(contradictions)}")
    return recipe


def recipe_type(data: Mapping[str, Any]) -> type[Recipe]:
    """`Recipe` with the tables that this data has, made of the classes that are registered now."""
    return _with_sections(space=space_section(data["space"])) if "space" in data else Recipe


@cache
def _with_sections(**sections: Any) -> type[Recipe]:
    fields: dict[str, Any] = {name: (section, ...) for name, section in sections.items()}
    return create_model("Recipe", __base__=Recipe, **fields)


def resolved(recipe: Recipe) -> dict[str, Any]:
    """The recipe with every default filled in, as plain data."""
    return recipe.model_dump(mode="json")


def reproducibility_settings(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe decides the results, as plain data: all but `RUNTIME_KEYS` and where the images lie.

    Which images these are is said by their digest (see `anybudget.runs.data_identity`), wherever they lie.
    """
    return recipe.model_dump(mode="json", exclude={**dict.fromkeys(RUNTIME_KEYS, True), "data": {"source"}})


def _read(path: Path) -> dict[str, Any]:
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
                else "Is a directory; give a TOML file such as recipes/demo.toml"
            )
        ) from None
    except (OSError, UnreadableError) as error:
        raise ConfigError(
            f"{path}: cannot read the recipe: {reason(error)}; give a TOML file such as recipes/demo.toml"
        ) from None
    return read_toml(text, path)


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
    try:
        inside = found.resolve().is_relative_to(path.parent.resolve().parent)
    except (OSError, ValueError, RuntimeError) as error:  # a null byte, or links in a circle
        raise ConfigError(f"{shown(base)}: cannot be a path: {reason(error)}") from None
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


def _kind(path: Sequence[str], data: Mapping[str, Any]) -> Any:
    """The type of the key at `path` in a recipe with this `data`; None where there is no such key."""
    if list(path) == ["space", "name"]:
        return str
    kind: Any = recipe_type(data)
    for part in path:
        if not isinstance(kind, type) or not issubclass(kind, BaseModel) or part not in kind.model_fields:
            return None
        kind = kind.model_fields[part].annotation
    return kind


def _problem(details: Any, kind: type[BaseModel]) -> str:
    """What is wrong in a recipe of this kind, as pydantic says it, in words of recipes."""
    path = details["loc"]
    location = shorten(".".join(map(str, path)))
    if details["type"] == "extra_forbidden":
        known = _known_keys(kind, path[:-1])
        close = get_close_matches(str(path[-1]), known, n=1)
        if close:
            return f"unknown key {location}; did you mean {close[0]}?"
        elsewhere = _homes(path[-1]) if len(path) == 1 else []
        return f"unknown key {location}; " + (
            f"did you mean {', '.join(elsewhere)}?" if elsewhere else f"known are {', '.join(known)}"
        )
    if details["type"] == "missing":
        return f"key {location} is missing"
    given = details["input"]
    if details["type"] == "unknown_name":
        return f"{location}.{details['ctx']['key']}: {details['msg']}"
    expected = _EXPECTED.get(details["type"]) or f"{details['msg'][0].lower()}{details['msg'][1:]}"
    return f"{location}: {expected}, found {shown(given)}"


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


def _homes(key: Any) -> list[str]:
    """The tables of a recipe that have such a key, with it."""
    tables = {name: field.annotation for name, field in Recipe.model_fields.items() if name != "space"}
    tables["space"] = Settings
    return [
        f"{name}.{key}"
        for name, table in tables.items()
        if isinstance(table, type) and issubclass(table, BaseModel) and key in table.model_fields
    ]


def _known_keys(model: type[BaseModel], path: Sequence[Any]) -> list[str]:
    """The keys of the table at `path`, a location as pydantic gives it, below `model`."""
    for part in path:
        if isinstance(part, str):
            annotation: Any = model.model_fields[part].annotation
            model = get_args(annotation)[0] if get_args(annotation) else annotation
    return list(model.model_fields)
