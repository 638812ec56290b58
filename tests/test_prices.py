"""Prices of limits against linear programs and enumeration, and that they spare the search its last resort."""

import itertools

import numpy as np
import pytest
from scipy.optimize import linprog

from anybudget.budgets import Budget, BudgetSet
from anybudget.costs import CostTerms, build_costs
from anybudget.decoding import limited
from anybudget.decoding.decoder import Decoder
from anybudget.decoding.integer_program import IntegerProgram
from anybudget.decoding.prices import cheapest
from anybudget.decoding.reachability import attainable, reachable
from anybudget.decoding.trellis import Trellis
from anybudget.spaces import UnifiedSettings, UnifiedSpace, stages

ROWS = list[np.ndarray]


def random_rows(rng: np.random.Generator, functions: int, sizes: tuple[int, ...]) -> list[ROWS]:
    return [[rng.random(size) for size in sizes] for _ in range(functions)]


def trellis_of(functions: list[ROWS]) -> Trellis:
    found = Trellis.of([CostTerms(0.0, tuple(rows)) for rows in functions])
    assert found is not None
    return found


def relaxed_optimum(functions: list[ROWS], room: np.ndarray) -> float:
    """The greatest score of fractional choices within the limits; by duality the lowest bound that prices can give."""
    *limited_rows, scores = [np.concatenate(rows) for rows in functions]
    sizes = [len(row) for row in functions[0]]
    one = np.repeat(np.eye(len(sizes)), sizes, axis=1)
    found = linprog(-scores, np.array(limited_rows), room, one, np.ones(len(sizes)), bounds=(0, 1))
    assert found.status == 0
    return float(-found.fun)


@pytest.mark.parametrize("limits", [1, 2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_the_lowest_bound_is_that_of_fractional_choices(limits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    functions = random_rows(rng, limits + 1, (3, 5, 1, 4, 6))
    trellis = trellis_of(functions)
    least, most = (np.array([sum(map(by, rows)) for rows in functions[:-1]]) for by in (np.min, np.max))
    some = np.array([sum(float(rng.choice(row)) for row in rows) for rows in functions[:-1]])
    room = np.maximum(some, least + 0.6 * (most - least))  # within which some fractional choices always lie
    prices = cheapest(trellis, room)
    bounds = trellis.priced(prices, 1.0).bound(room)
    assert prices.shape == (1 if limits == 1 else 1 + limits, limits)
    assert (prices >= 0).all()
    expected = relaxed_optimum(functions, room)
    assert (bounds >= expected - 1e-9).all()
    assert bounds[0] == pytest.approx(expected, rel=1e-3)
    assert bounds[0] <= bounds.min() + 1e-12


def test_a_limit_that_can_be_ignored_costs_nothing() -> None:
    functions = random_rows(np.random.default_rng(0), 3, (4, 4, 4))
    functions[1] = functions[2]  # the second limit is on what is maximised
    prices = cheapest(trellis_of(functions), np.array([1e6, 2.0]))
    assert prices[0] == pytest.approx([0.0, 1.0], abs=1e-2)


@pytest.mark.parametrize("pairwise", [False, True])
def test_what_is_left_of_a_path_is_its_best_completion(pairwise: bool) -> None:
    rng = np.random.default_rng(1)
    sizes = (2, 4, 3, 1, 3)
    pairs = {(1, 2): rng.random((4, 3))} if pairwise else {}
    terms = [CostTerms(0.0, tuple(rows), pairs) for rows in random_rows(rng, 2, sizes)]
    trellis = Trellis.of(terms)
    assert trellis is not None
    weights = rng.normal(size=(3, 2))
    left = trellis.remainders(weights)
    assert [values.shape[0] for values in left] == [3] * 6
    for decision in (0, 1, 3, 5):  # where no pair is open, so that there is one state
        tails = list(itertools.product(*map(range, sizes[decision:])))
        sums = [[_sum(one, decision, tail, pairwise and decision < 2) for tail in tails] for one in terms]
        assert left[decision][:, 0] == pytest.approx((weights @ np.array(sums)).max(1))
    path = trellis.best_path(weights[0])
    assert weights[0] @ trellis.sums(path) == pytest.approx(left[0][0, 0])
    assert trellis.sums(path) == pytest.approx([one.cost(path) for one in terms])


def _sum(terms: CostTerms, start: int, tail: tuple[int, ...], with_pair: bool) -> float:
    total = sum(float(row[choice]) for row, choice in zip(terms.unary[start:], tail, strict=True))
    return total + (float(terms.pairwise[1, 2][tail[1 - start], tail[2 - start]]) if with_pair else 0.0)


def test_two_budgets_and_a_floor_on_forty_layers_need_no_integer_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program takes a second where the search takes milliseconds, and sometimes does not end."""
    programs = []

    class Counted(IntegerProgram):
        def solve(self) -> tuple[int, ...] | None:
            programs.append(self)
            raise AssertionError("an integer program")

    monkeypatch.setattr(limited, "IntegerProgram", Counted)
    space = deep_space()
    terms = {name: model.terms for name, model in build_costs(space, ("macs", "params")).items()}
    rng = np.random.default_rng(2)
    for macs, params, sharpness in ((0.96, 0.44, 0.3), (0.55, 0.5, 5.0), (0.05, 0.05, 0.3), (0.5, 0.2, 1.0)):
        budgets = BudgetSet((at(terms, "macs", macs), at(terms, "params", params)))
        most = attainable(terms, "macs", budgets)
        assert most <= budgets.limits()["macs"]
        scores = [np.log(rng.dirichlet(np.full(80, sharpness)) + 1e-30) for _ in space.decisions]
        (found,) = Decoder(terms, budgets, {"macs": 0.98 * most}).decode(scores)
        costs = {name: terms[name].cost(found.choices) for name in terms}
        assert budgets.allows(costs)
        assert costs["macs"] >= 0.98 * most
    assert not programs


def test_what_two_budgets_leave_attainable_is_within_a_hundredth() -> None:
    space = UnifiedSpace(deep_space().settings.model_copy(update={"stages": stages((16, 3, 1), (24, 3, 2))}))
    terms = {name: model.terms for name, model in build_costs(space, ("macs", "params")).items()}
    for macs, params in ((0.9, 0.3), (0.5, 0.5), (0.1, 0.9), (0.2, 0.1)):
        budgets = BudgetSet((at(terms, "macs", macs), at(terms, "params", params)))
        functions = [[*terms["macs"].unary], [*terms["params"].unary], [*terms["macs"].unary]]
        room = np.array([budget.limit - terms[budget.cost].constant for budget in budgets])
        bound = relaxed_optimum(functions, room) + terms["macs"].constant
        assert 0.99 * bound <= attainable(terms, "macs", budgets) <= bound + 1e-6


def deep_space() -> UnifiedSpace:
    """40 layers of 80 choices."""
    shapes = {"input_size": 32, "input_channels": 3, "classes": 10, "stem_width": 16, "first_width": 16}
    widths = stages((16, 8, 1), (24, 8, 2), (40, 8, 2), (64, 8, 1), (96, 8, 2))
    return UnifiedSpace(UnifiedSettings(**shapes, stages=widths, head_width=256))  # type: ignore[arg-type]


def at(terms: dict[str, CostTerms], cost: str, place: float) -> Budget:
    low, high = reachable(terms, cost)
    return Budget(cost, low + place * (high - low))
