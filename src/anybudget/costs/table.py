"""`TableCost`: a cost that was measured, as a table with one number for every choice of every decision."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from anybudget.architecture import Architecture
from anybudget.costs.base import CostContext, CostModel
from anybudget.costs.csv_numbers import read_csv_numbers
from anybudget.costs.records import as_record
from anybudget.costs.settings import CostSettings, FilePath
from anybudget.costs.terms import CostTerms, Pair, separated
from anybudget.errors import ConfigError, shown
from anybudget.reading import parse_object, read_text, unreadable_as
from anybudget.spaces import Decision, SearchSpace

Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Row = dict[str, Number]

_SAMPLES = 1000
"""How many random networks of a large space are checked for a canonical form that costs more."""
_SMALL = 5000
"""Spaces of at most this many combinations of choices are checked whole."""
_EXACT_BITS = 48
"""Bits of a number relative to the dearest network, so few that any sum of them is exact in 53."""


class PairTable(BaseModel):
    """What two decisions cost together, beyond what each costs alone: `values[choice of first][choice of second]`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    decisions: Annotated[list[str], Field(min_length=2, max_length=2)]
    values: dict[str, Row]


class CostTable(BaseModel):
    """What the JSON file of a table holds: numbers in `unit` for the networks of `space`.

    A network costs `constant` plus one number of every decision, plus one of every pair table. All numbers are finite
    and at least 0. Decisions and choices have the names that `Decision.name` and `Decision.choice_names` give.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    space: str
    unit: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]*$")]
    constant: Number
    decisions: dict[str, Row]
    pairs: list[PairTable] = []

    @classmethod
    def read(cls, path: Path) -> Self:
        """The table in a file.

        Raises:
            ConfigError: the file cannot be read, or holds something else; names the key and the value.
        """
        way_out = "give a JSON file, or a .csv, as docs/commands.md describes under [costs]"
        with unreadable_as(ConfigError, f"file: {path}", "cannot read the table", way_out):
            found = parse_object(read_text(path))
        return as_record(cls, found, f"file: {path}", way_out)

    @classmethod
    def from_csv(cls, path: Path, space: str, unit: str) -> Self:
        """The table in a CSV file (`read_csv_numbers`), which has no pairs.

        Args:
            path: the file.
            space: the name of the space that its decisions are of.
            unit: of the numbers, where the file does not say.

        Raises:
            ConfigError: the file cannot be read, or holds something else; names the lines.
        """
        found = read_csv_numbers(path)
        values = {
            "space": space,
            "unit": found.unit or unit,
            "constant": found.constant,
            "decisions": found.decisions,
        }
        return as_record(cls, values, f"file: {path}", "name the third column with the unit, such as ms")

    @classmethod
    def of(cls, model: CostModel, unit: str) -> Self:
        """The numbers of any cost as a table to start from; `model_dump_json(indent=1)` gives the text of the file.

        Raises:
            ConfigError: the cost has a term below 0, or is a maximum, which a table cannot hold.
        """
        return cls.of_terms(model.space, model.terms, unit, model.name)

    @classmethod
    def of_terms(cls, space: SearchSpace, terms: CostTerms, unit: str, name: str = "the cost") -> Self:
        """Terms as a table; `name` is what messages call them.

        Raises:
            ConfigError: a term is below 0, or they are a maximum, which a table cannot hold.
        """
        if terms.combine != "sum":
            raise ConfigError(f"{name} is a maximum over the layers, which a table cannot hold")
        pairs = [
            PairTable(
                decisions=[space.decisions[d].name, space.decisions[e].name],
                values={
                    choice: dict(zip(space.decisions[e].choice_names, map(float, row), strict=True))
                    for choice, row in zip(space.decisions[d].choice_names, values, strict=True)
                },
            )
            for (d, e), values in terms.pairwise.items()
        ]
        if min(terms.constant, *(float(row.min()) for row in (*terms.unary, *terms.pairwise.values()))) < 0:
            raise ConfigError(f"{name} of the space {space.name} has terms below 0, which a table cannot hold")
        return cls(
            space=space.name,
            unit=unit,
            constant=terms.constant,
            decisions={
                decision.name: dict(zip(decision.choice_names, map(float, row), strict=True))
                for decision, row in zip(space.decisions, terms.unary, strict=True)
            },
            pairs=pairs,
        )

    def terms(self, space: SearchSpace, scale: float = 1.0) -> CostTerms:
        """The table as terms of the costs of `space`, every number times `scale`.

        Raises:
            ConfigError: it is a table of another space, or a decision or choice is missing or unknown.
        """
        if self.space != space.name:
            raise ConfigError(f"a table of the space {shown(self.space)}, and the recipe's is {space.name!r}")
        index = {decision.name: number for number, decision in enumerate(space.decisions)}
        _check_names(self.decisions, index, "decisions")
        unary = [
            _row(self.decisions[decision.name], decision, f"decisions.{decision.name}") for decision in space.decisions
        ]
        pairwise: dict[Pair, NDArray[np.float64]] = {}
        for number, pair in enumerate(self.pairs):
            where = f"pairs.{number}"
            _check_names(pair.decisions, index, f"{where}.decisions", complete=False)
            d, e = (index[name] for name in pair.decisions)
            first, second = space.decisions[d], space.decisions[e]
            if d >= e or (d, e) in pairwise:
                raise ConfigError(
                    f"{where}.decisions: {first.name!r} and {second.name!r}: expected two decisions in the order of "
                    "the space, each two in one table"
                )
            _check_names(pair.values, first.choice_names, f"{where}.values")
            pairwise[d, e] = np.stack(
                [_row(pair.values[name], second, f"{where}.values.{name}") for name in first.choice_names]
            )
        return _with_exact_sums(
            scale * self.constant,
            [scale * row for row in unary],
            {pair: scale * values for pair, values in pairwise.items()},
        )


class TableSettings(CostSettings):
    """`[costs.NAME]` with `kind = "table"`: the file that holds a `CostTable`, JSON or CSV (`.csv`)."""

    file: FilePath


class TableCost(CostModel):
    """A cost from a table of measured numbers, which add up over the decisions.

    Numbers are rounded down to a multiple of a power of 2, a relative 1e-13 of the dearest network, so that sums are
    exact in whatever order they are taken.

    Raises:
        ConfigError: the table is of another space or unit, something is missing in it, or two choices that give the
            same network differ so that its canonical form costs more.

    Source: additive latency tables: FBNet (Wu et al. 2019) §3.2.
    """

    name = "table"
    settings_type = TableSettings
    counts_any: ClassVar[bool] = False

    def __init__(self, space: SearchSpace, name: str, table: CostTable) -> None:
        super().__init__(space)
        self.name, self.unit = name, table.unit
        if not name.partition(".")[0].endswith(f"_{table.unit}"):
            raise ConfigError(
                f"the table is in {table.unit}, so the cost's name has to end with it, as latency_{table.unit} does"
            )
        self._terms = table.terms(space)
        check_canonical(self)

    @classmethod
    def from_context(cls, context: CostContext) -> Self:
        """See `CostModel.from_context`."""
        assert isinstance(context.settings, TableSettings)
        path = context.folder / context.settings.file
        if path.suffix.lower() == ".csv":
            table = CostTable.from_csv(path, context.space.name, context.name.partition(".")[0].rpartition("_")[2])
        else:
            table = CostTable.read(path)
        try:
            return cls(context.space, context.name, table)
        except ConfigError as error:
            raise ConfigError(f"file: {path}: {error}") from None

    def cost(self, architecture: Architecture) -> float:
        """The sum of the table's numbers, in `unit`."""
        self.space.validate(architecture)
        return self._terms.cost(architecture.choices)

    @property
    def terms(self) -> CostTerms:
        """The numbers of the table."""
        return self._terms


def _check_names(given: Iterable[str], known: Iterable[str], where: str, *, complete: bool = True) -> None:
    """Check that the keys of a part of the table are the names that the space has."""
    given, known = list(given), list(known)
    for name in given:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(map(repr, known[:20]))}"
            raise ConfigError(f"{where}: {shown(name)} is not in this space; {hint}")
    missing = [name for name in known if name not in given] if complete else []
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ConfigError(f"{where}: no number for {', '.join(map(repr, missing[:3]))}{more}; every one needs its own")


def _row(numbers: Mapping[str, float], decision: Decision, where: str) -> NDArray[np.float64]:
    _check_names(numbers, decision.choice_names, where)
    return np.array([numbers[name] for name in decision.choice_names])


def _with_exact_sums(
    constant: float, unary: Sequence[NDArray[np.float64]], pairwise: Mapping[Pair, NDArray[np.float64]]
) -> CostTerms:
    """Terms whose sums are exact: equal networks cost the same to the last bit, however they are added up."""
    most = constant + sum(float(table.max()) for table in (*unary, *pairwise.values()))
    unit = 2.0 ** (math.frexp(most)[1] - _EXACT_BITS)
    return separated(
        math.floor(constant / unit) * unit,
        [np.floor(row / unit) * unit for row in unary],
        {pair: np.floor(table / unit) * unit for pair, table in pairwise.items()},
    )


def check_canonical(model: CostModel) -> None:
    """Check that the canonical form of a network costs no more than other choices that give the same network.

    Raises:
        ConfigError: one does; names the decisions that differ.
    """
    space, rng = model.space, np.random.default_rng(0)
    sizes = [len(decision.choices) for decision in space.decisions]
    if space.size() <= _SMALL:
        drawn = np.stack(np.unravel_index(np.arange(space.size()), sizes), axis=1)
    else:
        drawn = np.stack([rng.integers(size, size=_SAMPLES) for size in sizes], axis=1)
    for choices in drawn.tolist():
        given = Architecture(space.name, tuple(choices))
        canonical = space.simplified(given)
        if canonical != given and model.cost(canonical) > model.cost(given):
            differing = [
                f"{decision.name} {decision.choice_names[a]!r} and {decision.choice_names[b]!r}"
                for decision, a, b in zip(space.decisions, given.choices, canonical.choices, strict=True)
                if a != b
            ]
            raise ConfigError(
                f"two ways to write one network cost {model.cost(given):.6g} and {model.cost(canonical):.6g} "
                f"{model.unit}, and the dearer one stands for both ({', '.join(differing[:4])}); give blocks that are "
                "the same the same number"
            )
