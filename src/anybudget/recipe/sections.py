"""The sections of a recipe: each table as typed, frozen settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PlainValidator
from pydantic_core import PydanticCustomError

from anybudget.budgets import BudgetSet, Ranges, unknown_cost
from anybudget.costs import COSTS, CostModel, CostSettings, build_costs, cost_names
from anybudget.data.sources import MOST_READERS, READING_KEYS, Keep, Reading
from anybudget.evaluation.metrics import TOP1
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.recipe.registered import MetricName, registered, table_of
from anybudget.recipe.trainings import GeneratorSection, RetrainSection, SupernetSection, TrainingSection
from anybudget.runtime.batch_parts import FEWEST, batch_problem
from anybudget.search import STRATEGIES
from anybudget.search.base import Strategy
from anybudget.search.race_settings import RaceSettings
from anybudget.settings import Fraction, Images, Natural, NonNegative, Settings, Share
from anybudget.spaces import SPACES, SearchSpace
from anybudget.spaces import Settings as SpaceSettings
from anybudget.spaces.blocks import underivable
from anybudget.transfer.settings import DetectSettings
from anybudget.worth.settings import WorthSettings


def _readers(value: Any) -> Any:
    """How many processes read images: a whole number, or the word for as many as there are cores."""
    if value == "auto" or (type(value) is int and 0 <= value <= MOST_READERS):
        return value
    raise PydanticCustomError(
        "readers", 'input should be a whole number from 0 to {most}, or "auto"', {"most": MOST_READERS}
    )


class DataSection(Settings):
    """`[data]`: where the images come from and how they are split.

    `skip_unreadable` is how many images of class folders may be left out because they cannot be decoded; each is named
    in a warning. `val` says what a folder `val` beside `train` is where there is no `test`: the validation split, with
    test images drawn from `train`, or "test", with validation images drawn. It holds for tar files and tables of
    Hugging Face, too; a CSV says itself what its images are. Both have no effect on other sources.

    The others change no result, and may be changed at any time; see `Reading`. `keep` says whether images are kept in
    memory, read from disk when they are wanted, or the one or the other as there is room; `readers` how many processes
    read those on disk, 0 for none; `patience` how many seconds reading one image may take.
    """

    UNSAID: ClassVar[frozenset[str]] = READING_KEYS

    source: Annotated[str, Field(min_length=1)] = "fashion-mnist-subset"
    validation_fraction: Fraction = 0.15
    test_fraction: Fraction = 0.15
    skip_unreadable: Natural = 0
    val: Literal["test", "validation"] = "validation"
    keep: Keep = "auto"
    readers: Annotated[int | Literal["auto"], PlainValidator(_readers)] = "auto"
    patience: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = Reading.patience

    def problems(self, table: str) -> Iterator[str]:
        """See `Settings.problems`."""
        if self.validation_fraction + self.test_fraction >= 1:
            yield (
                f"{table}.validation_fraction: {self.validation_fraction} and {table}.test_fraction "
                f"{self.test_fraction} leave nothing to train on; choose them so that their sum is below 1"
            )


class SearchSection(Settings):
    """`[search]`: which budgets are asked for, which strategy answers them, and how candidates are evaluated.

    `strategy` is the name of a registered strategy: a run searches with it, and trains a generator only for one that
    needs it.

    Networks are chosen by `metric`: the highest figure of a registered metric, or the lowest `loss`.
    `min_use` is the least share of a budget that every strategy has to use, 0 for none. `random_window` belongs to the
    random baseline alone, whose networks are to be of about the same cost: the least share that each of them uses.
    `balanced_calibration` takes equally many calibration images of each class, and `balanced_validation` scores
    networks on equally many validation images of each class, as many as the smallest has.

    `[search.NAME]` has the settings of the strategy of that name, `[search.race]` those of the race at the end.
    """

    UNSAID: ClassVar[frozenset[str]] = frozenset({"strategy", "balanced_calibration", "balanced_validation"})

    budgets: Annotated[list[str], Field(min_length=1)]
    strategy: Annotated[str, registered(STRATEGIES)] = "generator"
    min_use: Share = 0.0
    metric: MetricName = TOP1
    calibration_images: Images = EvaluatorSettings.calibration_images
    balanced_calibration: bool = False
    balanced_validation: bool = False
    random_baseline: Natural = 50
    random_window: Share = 0.9
    race: RaceSettings = RaceSettings()

    def settings_of(self, strategy: type[Strategy], name: str) -> Settings:
        """The settings of a strategy: its table `[search.name]`, or its defaults."""
        return table_of(self, strategy.settings_type, name)


class CostsSection(Settings):
    """`[costs]`: a table `[costs.NAME]` for each cost that is not counted in every run; `kind` names its class."""


class Recipe(Settings):
    """Everything a run needs to know.

    Training runs in `devices` processes on each of `nodes` machines, in `precision` (32-true, bf16-mixed or 16-mixed),
    and saves itself every `checkpoint_seconds`; 0 after every step. With `deterministic`, PyTorch computes with
    algorithms alone that give the same bits every time: GPUs resume exactly only so. `logger` names where metrics of
    every epoch go besides CSV files.

    Example:
        >>> from pathlib import Path
        >>> from anybudget import load_recipe
        >>> recipe = load_recipe(Path("recipes/small/nas-bench-macro.toml"))
        >>> recipe.seed, recipe.build_space().size()
        (0, 729)
    """

    UNSAID: ClassVar[frozenset[str]] = frozenset({"deterministic", "logger", "detect"})

    name: Annotated[str, Field(min_length=1)]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    device: Annotated[str, Field(min_length=1)] = "auto"
    devices: Annotated[int, Field(ge=1, le=1024)] = 1
    nodes: Annotated[int, Field(ge=1, le=1024)] = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    deterministic: bool = False
    checkpoint_seconds: NonNegative = 300.0
    logger: list[Literal["tensorboard", "wandb", "mlflow"]] = Field(default=[])
    data: DataSection = DataSection()
    space: SpaceSettings
    costs: CostsSection = CostsSection()
    supernet: SupernetSection
    generator: GeneratorSection = GeneratorSection()
    search: SearchSection
    retrain: RetrainSection
    worth: WorthSettings = WorthSettings()
    detect: DetectSettings = DetectSettings()

    def build_space(self) -> SearchSpace:
        """The search space of `[space]`.

        Raises:
            ConfigError: the settings contradict each other.
        """
        return SPACES[space_name(self.space)](self.space)

    def cost_tables(self) -> dict[str, tuple[str, CostSettings]]:
        """The registered class and the settings of every table `[costs.NAME]`."""
        tables = {name: getattr(self.costs, name) for name in type(self.costs).model_fields}
        return {name: (table.kind, table) for name, table in tables.items()}

    def cost_names(self) -> list[str]:
        """The costs that the networks of a run have."""
        return cost_names(type(self.costs).model_fields)

    def build_costs(self, space: SearchSpace, folder: Path) -> dict[str, CostModel]:
        """The cost models of `space`, by name; paths of files that are not absolute are relative to `folder`.

        Raises:
            ConfigError: the settings of a cost, or a file that they name, do not fit the space.
        """
        return build_costs(space, tables=self.cost_tables(), folder=folder)

    @property
    def strategy(self) -> type[Strategy]:
        """The strategy that answers the budgets of `[search]`."""
        return STRATEGIES[self.search.strategy]

    def budget_sets(self, ranges: Ranges | None = None) -> list[BudgetSet]:
        """The budgets of `[search]`, parsed; `ranges` says what those in percent come to (see `BudgetSet.parse`)."""
        return [BudgetSet.parse(text, self.cost_names(), ranges) for text in self.search.budgets]

    def contradictions(self) -> Iterator[str]:
        """What the settings say against each other, each with the keys and what would do."""
        kind, _, index = self.device.partition(":")
        if index and kind != "cpu" and self.devices > 1:
            yield (
                f"device: {self.device} is one device, and the {self.devices} processes of devices need one each; take "
                f'device = "{kind}", or devices = 1'
            )
        processes = self.devices * self.nodes
        for name in type(self).model_fields:
            section = getattr(self, name)
            if isinstance(section, Settings):
                yield from all_problems(section, name)
            if isinstance(section, TrainingSection):
                yield from section.misfits(name, self.space.input_size, processes)
        problem = batch_problem(self.generator.batch_size, processes, section="generator")
        if problem and self.strategy.needs_generator:
            yield problem
        size, parts = self.search.race.batch_size, self.retrain.accumulate
        if size and parts > 1 and size // parts < FEWEST:
            yield (
                f"search.race.batch_size: {size} in {parts} parts (retrain.accumulate) leaves fewer than {FEWEST} "
                f"images at once, which norms cannot be trained on; take {FEWEST * parts} or more, or 0 for that of "
                "[retrain]"
            )
        if self.generator.cost not in self.cost_names():
            yield f"generator.cost: {unknown_cost(self.generator.cost, self.cost_names())}"
        yield from self._left_undone()
        yield from self._wrong_picks("retrain", self.retrain.picks)
        yield from self._wrong_picks("worth", self.worth.picks)
        if self.retrain.inherit and (self.retrain.activation or self.retrain.se_reduction):
            yield (
                "retrain.inherit: a network with retrain.activation or retrain.se_reduction has no weights to inherit; "
                "set inherit = false, or leave both out"
            )

    def _wrong_picks(self, table: str, picks: Sequence[int]) -> Iterator[str]:
        """Which positions in `search.budgets` are none, or come twice."""
        budgets = len(self.search.budgets)
        for pick in dict.fromkeys(picks):
            if pick > budgets:
                yield f"{table}.picks: {pick} is beyond the {budgets} budgets of search.budgets"
            elif picks.count(pick) > 1:
                yield f"{table}.picks: {pick} is listed more than once; list each budget once"

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
        for name, (kind, _) in self.cost_tables().items():
            if not COSTS[kind].counts_any:
                yield (
                    f"retrain.{'activation' if section.activation else 'se_reduction'}: [costs.{name}] is known for "
                    "networks of the space only, and not for a derived one; leave out one of the two"
                )


def space_name(value: Any) -> Any:
    """Which space a table `[space]` describes; `unified` when it does not say."""
    return value.get("name", "unified") if isinstance(value, Mapping) else getattr(value, "name", None)


def all_problems(section: Settings, table: str) -> Iterator[str]:
    """What the values of a table, and of the tables within it, say against each other."""
    yield from section.problems(table)
    for name in type(section).model_fields:
        inner = getattr(section, name)
        if isinstance(inner, Settings):
            yield from all_problems(inner, f"{table}.{name}")
