"""Planning: from a data set and this machine to a recipe that fills the hours that there are."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from anybudget.budgets import BudgetSet
from anybudget.costs import build_costs, cost_names
from anybudget.data.overview import look_at, overview_of
from anybudget.decoding.reachability import reachable
from anybudget.errors import ConfigError
from anybudget.planning import budgets as budget_rules
from anybudget.planning import images as image_rules
from anybudget.planning import networks as network_rules
from anybudget.planning.choice import Choice
from anybudget.planning.draft import Draft, plain
from anybudget.planning.lengths import RACERS, USED, Lengths, longest
from anybudget.planning.like import multiply_adds, read_like
from anybudget.planning.networks import FACTORS, Outline
from anybudget.planning.profile import DataProfile, profile_of
from anybudget.planning.workload import per_epoch
from anybudget.planning.writing import commented
from anybudget.recipe import Recipe, parse_recipe
from anybudget.runs.checks import check_recipe
from anybudget.runs.context import RunContext
from anybudget.runs.data_loading import placed
from anybudget.runs.estimate import Estimate, estimated, times
from anybudget.runs.probe import Probe, probe
from anybudget.runtime.device import pick_device
from anybudget.runtime.progress import Progress, SilentProgress
from anybudget.spaces.mbconv import MBConvSettings, MBConvSpace
from anybudget.storage.provenance import package_version
from anybudget.storage.run_folder import RunFolder

FIRST_SIZE = 64
"""The largest side in pixels at which the machine's speed is first looked at; other sizes follow by multiply-adds."""

FIRST_SECONDS, SECONDS = 3.0, 15.0
"""How long the first look is, and the probe of the networks that were chosen."""

MOST_HOURS = 10_000.0
"""Hours that anybody waits."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a recipe is planned for.

    `hours` are those of a whole run; `budgets` as texts, or `like` a network of the zoo or a text such as
    "mobilenetv2 x0.5", or neither.

    Raises:
        ConfigError: the hours or the budgets are none.
        BudgetError: a budget cannot be read.
    """

    hours: float = 1.0
    budgets: tuple[str, ...] = ()
    like: str | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.hours) and 0 < self.hours <= MOST_HOURS):
            raise ConfigError(f"--hours {self.hours:g}: give more than 0 and at most {MOST_HOURS:,.0f}")
        if self.budgets and self.like is not None:
            raise ConfigError("--budget and --like: both say the budgets; leave out one of the two")
        if self.like is not None:
            read_like(self.like)
        for text in self.budgets:
            BudgetSet.parse(text, cost_names(()))


@dataclass(frozen=True, slots=True)
class Plan:
    """A planned recipe: as it is written, as it is read, and what it takes."""

    text: str
    recipe: Recipe
    estimate: Estimate


def plan(source: str, asked: Asked, progress: Progress | None = None) -> Plan:
    """Plan a recipe for a data set.

    The data set is looked at, steps are timed on it, and every key is set by a rule of `anybudget.planning`.

    Args:
        source: a path or the name of a registered source.
        asked: for what.
        progress: told how far it is.

    Raises:
        DataError: the data cannot be used, or are too few.
        ConfigError: the device is not there, or the hours are too few.
        BudgetError: a budget is out of reach.
    """
    progress = progress or SilentProgress()
    pick_device(asked.device)
    profile = profile_of(overview_of(look_at(source, progress=progress)))
    draft = _Drafting(source, asked, profile, progress).draft()
    first = _context(draft, progress)
    check_recipe(first)
    found = probe(first, SECONDS)
    draft = draft.with_lengths(
        longest(lambda lengths: _seconds(draft, lengths, found), asked.hours, _steps_per_epoch(draft))
    )
    planned = _context(draft, progress)
    text = commented(draft.tables(), _header(source, asked))
    return Plan(text, planned.recipe, estimated(planned, found))


def name_of(source: str) -> str:
    """What a run on this data set is called."""
    return re.sub(r"[^\w.-]+", "-", Path(source).expanduser().absolute().stem).strip("-.") or "images"


class _Drafting:
    """Chooses size, widths and budgets of the networks, by a first look at how fast this machine is."""

    def __init__(self, source: str, asked: Asked, profile: DataProfile, progress: Progress) -> None:
        self._source, self._asked, self._profile, self._progress = source, asked, profile, progress

    def draft(self) -> Draft:
        """The draft, whose trainings are the shortest."""
        sizes = image_rules.fitting_sizes(self._profile.side)
        start = Outline(max(size for size in sizes if size <= FIRST_SIZE))
        draft = self._with(Choice(start.size, ""), Choice(start.factor, ""))
        steps = self._steps(draft, self._first_look(draft))
        size = image_rules.input_size(
            self._profile.side, {s: steps * self._ratio(start, Outline(s)) for s in sizes}, self._asked.hours
        )
        return self._with(size, self._factor(size.value, start, steps))

    def _first_look(self, draft: Draft) -> Probe:
        """A short probe with the middle one of the budgets, which stands for all."""
        texts = draft.budgets.value
        alone = replace(draft, budgets=Choice([texts[len(texts) // 2]], ""))
        run = _context(alone, self._progress)
        check_recipe(run)
        found = probe(run, FIRST_SECONDS)
        return replace(found, steps=replace(found.steps, train=found.steps.train * len(texts)))

    def _factor(self, size: int, start: Outline, steps: float) -> Choice[int]:
        most = max((BudgetSet.parse(text).limits().get("macs", 0.0) for text in self._budgets(size)), default=0.0)
        outlines = {factor: Outline(size, factor) for factor in FACTORS}
        if most:
            return budget_rules.factor_for(most, {f: self._reach(o)[1] for f, o in outlines.items()})
        ratios = {factor: self._ratio(start, outline) for factor, outline in outlines.items()}
        return network_rules.factor({factor: steps * ratio for factor, ratio in ratios.items()}, self._asked.hours)

    def _budgets(self, size: int) -> tuple[str, ...]:
        """The budgets that were asked for, at this size of the images; none if none were."""
        if self._asked.like is None:
            return self._asked.budgets
        return tuple(self._like(size).value)

    def _like(self, size: int) -> Choice[list[str]]:
        network = read_like(self._asked.like or "")
        macs = multiply_adds(network, size, self._profile.channels, self._profile.classes)
        return budget_rules.like_network(network.title, macs)

    def _with(self, size: Choice[int], width: Choice[int]) -> Draft:
        if self._asked.like is not None:
            budgets = self._like(size.value)
        elif self._asked.budgets:
            budgets = budget_rules.given(self._asked.budgets)
        else:
            budgets = budget_rules.spread(*self._reach(Outline(size.value, width.value)))
        asked = self._asked
        return Draft(
            name_of(self._source), placed(self._source), asked.device, asked.hours, self._profile, size, width, budgets,
            Lengths(1),
        )  # fmt: skip

    def _steps(self, draft: Draft, found: Probe) -> float:
        """How many steps of retraining fit into the time, where half of the demo's networks race."""
        one, two = (_seconds(draft, Lengths(epochs, RACERS[1]), found) for epochs in (8, 16))
        slope = (two - one) / 8
        return max(0.0, (USED * 3600 * self._asked.hours - (one - 8 * slope)) / slope) * _steps_per_epoch(draft)

    def _ratio(self, start: Outline, other: Outline) -> float:
        """How many more steps of one outline there is time for than of another, by multiply-adds."""
        return self._reach(start)[1] / self._reach(other)[1]

    def _reach(self, outline: Outline) -> tuple[float, float]:
        """The multiply-adds of the cheapest and the costliest network."""
        size, width = Choice(outline.size, ""), Choice(outline.factor, "")
        table = network_rules.space_table(outline, size, width, self._profile.channels, self._profile.classes)
        return _extremes({key: choice.value for key, choice in table.items()})


def _extremes(table: Mapping[str, object]) -> tuple[float, float]:
    settings = MBConvSettings.model_validate({key: value for key, value in table.items() if key != "name"})
    return reachable({"macs": build_costs(MBConvSpace(settings), ("macs",))["macs"].terms}, "macs")


def _recipe(draft: Draft) -> Recipe:
    return parse_recipe(plain(draft.tables()), draft.source)


def _context(draft: Draft, progress: Progress) -> RunContext:
    """A run of a draft that is not begun."""
    return RunContext(RunFolder(Path("runs") / draft.name), _recipe(draft), progress)


def _seconds(draft: Draft, lengths: Lengths, found: Probe) -> float:
    """How long a run with trainings of these lengths takes."""
    return sum(took.seconds for took in times(_recipe(draft.with_lengths(lengths)), found).values())


def _steps_per_epoch(draft: Draft) -> int:
    images = draft.images.train
    return per_epoch(images, image_rules.batch_size(images).value)


def _header(source: str, asked: Asked) -> list[str]:
    """The lines that a planned recipe begins with."""
    budgets = f" --like {asked.like!r}" if asked.like else "".join(f" --budget {text!r}" for text in asked.budgets)
    return [
        f"Planned by anybudget {package_version('anybudget')}: init {source} --hours {asked.hours:g}{budgets}",
        "Every value has its reason beside it; change what you know better, and ask what it takes: anybudget estimate.",
    ]
