"""`fit_latency`: from some whole networks that were measured to milliseconds of every choice."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.costs import CostTerms, build_costs, separated
from anybudget.costs.features import FeatureBlock, columns_of, products, slot_counts, terms_of
from anybudget.costs.ridge import RidgeFit, ridge
from anybudget.errors import DataError
from anybudget.latency.canonical import with_cheap_canonicals
from anybudget.latency.tying import Tying
from anybudget.spaces import Decision, SearchSpace

Array = NDArray[np.float64]
Choices = NDArray[np.int64]

FEWEST = 10
"""Networks that a model is fitted to, at least."""

_SHARES = ((3.0, 0.0, 0.0), (3.0, 10.0, 0.0), (3.0, 10.0, 3.0), (10.0, 30.0, 10.0), (1.0, 3.0, 1.0))
"""How much more than a choice of one layer these may differ from the prior: an operation in all layers alike, the
choices of one layer in proportion to the prior, an operation in all layers in proportion to the prior. The best of
these by leave-one-out error is taken."""

_LEAST_SIZE = 0.1
"""How much a layer whose choices all cost the same in the prior is taken to differ, relative to an average layer."""


@dataclass(frozen=True)
class MeasuredNetworks:
    """Whole networks of one space and how long each took: `choices` `[n, decisions]`, and `ms` `[n]`.

    Raises:
        DataError: a time is not a finite number above 0.
    """

    choices: Choices
    ms: Array

    def __post_init__(self) -> None:
        wrong = ~(np.isfinite(self.ms) & (self.ms > 0))
        if wrong.any():
            raise DataError(
                f"measured latencies have to be finite numbers above 0, in ms; network {int(np.argmax(wrong)) + 1} "
                f"has {self.ms[wrong][0]:g}"
            )

    @classmethod
    def of(cls, space: SearchSpace, architectures: Sequence[Architecture], ms: Sequence[float]) -> MeasuredNetworks:
        """From architectures of `space`.

        Raises:
            ArchitectureError: one is of another space.
            DataError: a time is not a finite number above 0.
        """
        for architecture in architectures:
            space.validate(architecture)
        choices = np.array([a.choices for a in architectures], dtype=np.int64).reshape(-1, len(space.decisions))
        return cls(choices, np.array(ms, dtype=np.float64))

    def __len__(self) -> int:
        return len(self.ms)

    def part(self, rows: NDArray[np.int64]) -> MeasuredNetworks:
        """Some of the networks, by their rows."""
        return MeasuredNetworks(self.choices[rows], self.ms[rows])


@dataclass(frozen=True)
class LatencyModel:
    """Milliseconds of a network as a sum over its choices; all terms are at least 0.

    `scale` is what the prior was multiplied by. `paired` says whether pairs of neighbouring choices have numbers of
    their own. `left_out_ms` are predictions of the networks of the fit, each by a fit without it; what was chosen by
    them makes their errors a little small (`cross_validated` in `promise.py` has none of that).
    """

    terms: CostTerms
    scale: float
    paired: bool
    left_out_ms: Array

    def predict(self, choices: Choices) -> Array:
        """Predicted latency `[n]` in ms of choices `[n, decisions]`."""
        return self.terms.costs(choices)


def fit_latency(space: SearchSpace, measured: MeasuredNetworks, prior: CostTerms | None = None) -> LatencyModel:
    """The additive model of what was measured, near a prior.

    First the prior gets a scale and a constant (an affine correction). What is left is fitted by ridge regression with
    four sorts of features, from coarse to fine: how often each operation is used in all layers together, the prior's
    own numbers, each operation in proportion to the prior, and each choice of each layer by itself. So ten networks
    correct a block table, thirty say how a device differs from multiply-adds, and hundreds measure every block. Layers
    with equal blocks share their numbers. Products of what neighbouring layers do are added where they lower the
    squared leave-one-out error by more than one standard error of the difference. Errors count relative to the latency.

    Args:
        space: whose networks were measured.
        measured: at least 10 networks.
        prior: what the networks may cost, such as the sum of the latencies of their blocks, in any unit; multiply-adds
            if None.

    Raises:
        DataError: too few networks, or times that contradict each other.

    Example:
        >>> from anybudget.spaces import UnifiedSettings, UnifiedSpace, stages
        >>> shapes = {"input_size": 8, "input_channels": 1, "classes": 3, "stem_width": 4}
        >>> space = UnifiedSpace(UnifiedSettings(**shapes, stages=stages((4, 2, 1))))
        >>> rng = np.random.default_rng(0)
        >>> networks = [space.sample(rng) for _ in range(20)]
        >>> macs = build_costs(space)["macs"]
        >>> measured = MeasuredNetworks.of(space, networks, [0.5 + 1e-4 * macs.cost(a) for a in networks])
        >>> model = fit_latency(space, measured)
        >>> round(model.scale, 7), bool(np.allclose(model.predict(measured.choices), measured.ms))
        (0.0001, True)

    Source: Dudziak et al. 2020 (BRP-NAS) §3 on the limits of layer-wise sums; affine and ridge corrections are ours.
    """
    if len(measured) < FEWEST:
        raise DataError(f"{len(measured)} measured networks are too few to fit latencies to; give at least {FEWEST}")
    tying = Tying.of(space)
    before = tying.terms(prior or build_costs(space, ["macs"])["macs"].terms)
    # Of what takes less than half of the median, errors count as if it took half: such networks are no one's budget.
    importance = 1.0 / np.maximum(measured.ms, np.median(measured.ms) / 2) ** 2
    scale = _slope(before.costs(measured.choices), measured.ms, importance)
    rest = measured.ms - scale * before.costs(measured.choices)
    tables, fit = _closest(_sorts(space, tying, before), measured.choices, rest, importance)
    pairs = [] if tying.moves else _pairs(space, tying)
    columns = _columns(tables, measured.choices)
    richer = ridge(np.hstack([columns, columns_of(pairs, measured.choices)]), rest, importance) if pairs else fit
    paired = _helps(fit, richer)
    if paired:
        fit = richer
    terms = _sum(before, scale, _read(tables, pairs if paired else [], fit, space))
    terms = with_cheap_canonicals(space, terms, tying.groups)
    off = float(importance @ (measured.ms - terms.costs(measured.choices)) / importance.sum())
    terms = _nonnegative(replace(terms, constant=terms.constant + off), measured)
    return LatencyModel(terms, scale, paired, measured.ms - rest + fit.left_out)


def _slope(costs: Array, ms: Array, importance: Array) -> float:
    """Of the weighted line through the points; 0 where it falls or all costs are equal."""
    share = importance / importance.sum()
    centred = costs - share @ costs
    spread = float(share @ centred**2)
    return max(0.0, float(share @ (centred * ms)) / spread) if spread > 1e-18 * float(share @ costs**2) else 0.0


def _sorts(space: SearchSpace, tying: Tying, prior: CostTerms) -> tuple[list[Array], ...]:
    """For each sort of features a table `[choices, features]` of every decision: fine, coarse, prior, in proportion."""
    decisions = space.decisions
    own = tying.rows([_uses(decision) for decision in decisions])
    spans = np.array([float(np.ptp(row)) for row in prior.unary])
    unit = float(spans.mean()) or 1.0
    # A block that does little cannot be far off in ms.
    sizes = np.sqrt(np.maximum(spans / unit, _LEAST_SIZE)) if spans.any() else np.ones(len(spans))
    coarse = _placed(own, [decision.operations for decision in decisions])
    shape = [((row - row.min()) / unit)[:, None] for row in prior.unary]
    return (
        _placed([row * size for row, size in zip(own, sizes, strict=True)], tying.groups),
        coarse,
        shape,
        [row * share for row, share in zip(coarse, shape, strict=True)],
    )


def _uses(decision: Decision) -> Array:
    """How many slots use each operation, and where there are several slots, whether any does; `[choices, features]`."""
    counts = slot_counts(decision)
    return counts if decision.slots == 1 else np.hstack([counts, np.minimum(counts, 1.0)])


def _placed(rows: Sequence[Array], groups: Sequence[Hashable]) -> list[Array]:
    """Rows `[choices, features]` in the columns of their group, zeros elsewhere: a group has weights in common."""
    widths = {group: row.shape[1] for group, row in zip(groups, rows, strict=True)}
    starts = dict(zip(widths, np.cumsum([0, *widths.values()]), strict=False))
    found = []
    for group, row in zip(groups, rows, strict=True):
        table = np.zeros((len(row), sum(widths.values())))
        table[:, starts[group] : starts[group] + row.shape[1]] = row
        found.append(table)
    return found


def _closest(
    sorts: tuple[list[Array], ...], choices: Choices, rest: Array, importance: Array
) -> tuple[list[Array], RidgeFit]:
    """The tables, one for each decision with all sorts of features, that have the least leave-one-out error."""
    best: tuple[list[Array], RidgeFit] | None = None
    for shares in _SHARES:
        used = [(share, tables) for share, tables in zip((1.0, *shares), sorts, strict=True) if share]
        joined = [np.hstack([share * tables[d] for share, tables in used]) for d in range(choices.shape[1])]
        fit = ridge(_columns(joined, choices), rest, importance)
        if best is None or fit.error < best[1].error:
            best = joined, fit
    assert best is not None, "there are shares"
    return best


def _columns(tables: Sequence[Array], choices: Choices) -> Array:
    """The features `[n, features]` of choices `[n, decisions]`: those of all decisions added up."""
    total = np.zeros((len(choices), tables[0].shape[1]))
    for d, table in enumerate(tables):
        total += table[choices[:, d]]
    return total


def _pairs(space: SearchSpace, tying: Tying) -> list[FeatureBlock]:
    return [
        replace(pair, tables=tuple(t[tying.same[d]] for d, t in zip(pair.decisions, pair.tables, strict=True)))
        for pair in products(space.decisions)
    ]


def _helps(fit: RidgeFit, richer: RidgeFit) -> bool:
    """Whether the richer fit leaves less error by more than a standard error of the difference."""
    gained = fit.errors**2 - richer.errors**2
    return bool(gained.mean() > gained.std(ddof=1) / np.sqrt(len(gained)))


def _read(tables: Sequence[Array], pairs: Sequence[FeatureBlock], fit: RidgeFit, space: SearchSpace) -> CostTerms:
    """The fit as a number for every choice and pair of choices."""
    width = tables[0].shape[1]
    within = terms_of(pairs, fit.weights[width:], fit.intercept, space.decisions)
    return CostTerms(fit.intercept, tuple(table @ fit.weights[:width] for table in tables), within.pairwise)


def _sum(prior: CostTerms, scale: float, rest: CostTerms) -> CostTerms:
    """`scale` times the prior, and the rest."""
    pairwise = {pair: scale * table for pair, table in prior.pairwise.items()}
    for pair, table in rest.pairwise.items():
        pairwise[pair] = pairwise.get(pair, 0.0) + table
    unary = [scale * row + more for row, more in zip(prior.unary, rest.unary, strict=True)]
    return separated(scale * prior.constant + rest.constant, unary, pairwise)


def _nonnegative(terms: CostTerms, measured: MeasuredNetworks) -> CostTerms:
    """The same costs from terms that are all at least 0: what is below is moved to the constant.

    Where the constant gets below 0, nothing costs it: all other terms shrink so that the measured networks cost as much
    as before on average.
    """
    least = [float(row.min()) for row in terms.unary]
    corners = {pair: float(table.min()) for pair, table in terms.pairwise.items()}
    constant = terms.constant + sum(least) + sum(corners.values())
    unary = tuple(row - low for row, low in zip(terms.unary, least, strict=True))
    pairs = {pair: table - corners[pair] for pair, table in terms.pairwise.items()}
    found = CostTerms(max(0.0, constant), unary, pairs)
    if constant >= 0:
        return found
    wanted, now = terms.costs(measured.choices).sum(), found.costs(measured.choices).sum()
    ratio = float(wanted / now) if now > 0 else 1.0
    return CostTerms(0.0, tuple(ratio * row for row in unary), {pair: ratio * table for pair, table in pairs.items()})
