"""Hard-budget decoding against brute force, and the promise that no budget is ever exceeded."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anybudget.budgets import Budget, BudgetSet
from anybudget.costs import CostTerms, build_costs
from anybudget.decoding import decoder, limited, trellis
from anybudget.decoding.candidates import candidates_of
from anybudget.decoding.decoder import decode
from anybudget.decoding.feasible import FeasibleSampler
from anybudget.decoding.limit import Limit
from anybudget.decoding.limited import LimitedSearch
from anybudget.decoding.reachability import check_jointly_reachable, check_reachable, optimum, reachable
from anybudget.errors import BudgetError
from anybudget.spaces import UnifiedSpace


def random_problem(
    seed: int, *, pairwise: bool, whole: bool
) -> tuple[list[np.ndarray], dict[str, CostTerms], list[tuple[int, ...]]]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 5, size=4)
    pairs = [(0, 1), (1, 2), (2, 3)] if seed % 3 else [(0, 1), (1, 3)]  # neighbours, or not
    scores = [np.log(rng.dirichlet(np.ones(size))) for size in sizes]

    def draw(*shape: int) -> np.ndarray:
        values = rng.integers(0, 40, shape).astype(float)
        return values if whole else values + rng.random(shape)

    def pair(first: int, second: int) -> np.ndarray:
        # Few different rows and columns: the program puts choices that interact alike into one group.
        rows, columns = rng.integers(0, 2, sizes[first]), rng.integers(0, 3, sizes[second])
        return draw(2, 3)[np.ix_(rows, columns)] if seed % 2 else draw(sizes[first], sizes[second])

    terms = {
        name: CostTerms(
            float(draw(1)[0]),
            tuple(draw(size) for size in sizes),
            {chosen: pair(*chosen) for chosen in pairs} if pairwise else {},
        )
        for name in ("a", "b")
    }
    return scores, terms, list(itertools.product(*(range(size) for size in sizes)))


def brute_force(
    scores: list[np.ndarray], terms: dict[str, CostTerms], everything: list[tuple[int, ...]], limits: dict[str, float]
) -> list[tuple[float, tuple[int, ...]]]:
    feasible = [c for c in everything if all(terms[name].cost(c) <= limit for name, limit in limits.items())]
    scored = [(sum(row[i] for row, i in zip(scores, c, strict=True)), c) for c in feasible]
    return sorted(scored, reverse=True)


@settings(max_examples=60)
@given(
    st.integers(0, 10**6), st.booleans(), st.booleans(), st.floats(0.05, 1.0), st.floats(0.05, 1.0), st.integers(1, 6)
)
def test_decoding_is_optimal(seed: int, pairwise: bool, whole: bool, first: float, second: float, count: int) -> None:
    scores, terms, everything = random_problem(seed, pairwise=pairwise, whole=whole)
    limits = {}
    for name, share in (("a", first), ("b", second)):
        values = sorted(terms[name].cost(c) for c in everything)
        limits[name] = max(1.0, values[round(share * (len(values) - 1))])  # often exactly the cost of an architecture
    expected = brute_force(scores, terms, everything, limits)
    budgets = BudgetSet(tuple(Budget(name, limit) for name, limit in limits.items()))
    if not expected:
        with pytest.raises(BudgetError, match=r"reaches from|together"):
            decode(scores, terms, budgets, count)
        return
    found = decode(scores, terms, budgets, count)
    assert len(found) == min(count, len(expected))
    assert len({d.choices for d in found}) == len(found)
    assert [d.log_probability for d in found] == pytest.approx([score for score, _ in expected[:count]], abs=1e-5)
    assert all(terms[name].cost(d.choices) <= limit for d in found for name, limit in limits.items())


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.booleans(), st.booleans(), st.floats(0.05, 1.0), st.integers(1, 6))
def test_pairs_of_choices_can_score_together(
    seed: int, pairwise: bool, grouped: bool, share: float, count: int
) -> None:
    """With pairs that have costs too, and pairs that have none; with choices that interact alike, and without."""
    scores, terms, everything = random_problem(seed, pairwise=pairwise, whole=True)
    rng = np.random.default_rng(seed)
    pair_scores = {}
    for d, e in ((0, 1), (2, 3), (0, 3)):
        table = rng.normal(size=(5, 5)) if not grouped else np.outer(rng.integers(0, 2, 5), rng.normal(size=5))
        pair_scores[d, e] = table[: len(scores[d]), : len(scores[e])]
    limit = max(1.0, sorted(terms["a"].cost(c) for c in everything)[round(share * (len(everything) - 1))])
    expected = sorted(
        (
            (score + sum(float(table[c[d], c[e]]) for (d, e), table in pair_scores.items()), c)
            for score, c in brute_force(scores, terms, everything, {"a": limit})
        ),
        reverse=True,
    )
    if not expected:
        return
    budgets = BudgetSet((Budget("a", limit),))
    found = decode(scores, terms, budgets, count, pair_scores=pair_scores)
    assert [d.log_probability for d in found] == pytest.approx([score for score, _ in expected[:count]], abs=1e-5)
    assert len({d.choices for d in found}) == len(found)
    assert all(terms["a"].cost(d.choices) <= limit for d in found)
    floor = 0.9 * limit
    using = [(score, c) for score, c in expected if terms["a"].cost(c) >= floor] or expected
    (best,) = decode(scores, terms, budgets, floors={"a": floor}, pair_scores=pair_scores)
    assert best.log_probability == pytest.approx(using[0][0], abs=1e-5)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.booleans(), st.floats(0.2, 1.0))
def test_floors_hold_where_they_can(seed: int, pairwise: bool, share: float) -> None:
    scores, terms, everything = random_problem(seed, pairwise=pairwise, whole=True)
    values = sorted(terms["a"].cost(c) for c in everything)
    limit = max(1.0, values[round(share * (len(values) - 1))])
    floor = 0.9 * limit
    expected = [
        (score, c) for score, c in brute_force(scores, terms, everything, {"a": limit}) if terms["a"].cost(c) >= floor
    ]
    if values[0] > limit:
        return
    (found,) = decode(scores, terms, BudgetSet((Budget("a", limit),)), floors={"a": floor})
    if expected:
        assert found.log_probability == pytest.approx(expected[0][0], abs=1e-5)
        assert floor <= terms["a"].cost(found.choices) <= limit
    else:  # nothing uses that much: the floor is dropped, the budget never
        assert terms["a"].cost(found.choices) <= limit


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.booleans())
def test_optimum_is_the_brute_force_one(seed: int, pairwise: bool) -> None:
    _, terms, everything = random_problem(seed, pairwise=pairwise, whole=True)
    values = [terms["a"].cost(c) for c in everything]
    assert reachable(terms, "a") == (min(values), max(values))
    limit = float(np.median([terms["b"].cost(c) for c in everything])) + 1
    within = [terms["a"].cost(c) for c in everything if terms["b"].cost(c) <= limit]
    budgets = BudgetSet((Budget("b", limit),))
    assert optimum(terms, "a", budgets, largest=True) == max(within)
    assert optimum(terms, "a", budgets, largest=False) == min(within)


def test_a_cost_on_the_limit_is_allowed_and_one_above_is_not(imagenet_space: UnifiedSpace) -> None:
    terms = {name: model.terms for name, model in build_costs(imagenet_space).items()}
    rng = np.random.default_rng(0)
    for _ in range(5):
        architecture = imagenet_space.sample(rng)
        scores = [np.where(np.arange(80) == choice, 0.0, -50.0) for choice in architecture.choices]
        cost = terms["macs"].cost(architecture.choices)
        (at,) = decode(scores, terms, BudgetSet((Budget("macs", cost),)))
        (below,) = decode(scores, terms, BudgetSet((Budget("macs", cost - 1),)))
        assert at.choices == architecture.choices
        assert terms["macs"].cost(below.choices) <= cost - 1


def test_unreachable_budgets_say_what_is_reachable(space: UnifiedSpace) -> None:
    terms = {name: model.terms for name, model in build_costs(space).items()}
    scores = [np.zeros(80)] * 3
    low, high = reachable(terms, "macs")
    with pytest.raises(BudgetError, match=f"reaches from {low:,.0f} to {high:,.0f}, and the limit is {low - 1:,.0f}"):
        decode(scores, terms, BudgetSet((Budget("macs", low - 1),)))
    assert decode(scores, terms, BudgetSet((Budget("macs", low),)))
    with pytest.raises(BudgetError, match=r"unknown cost 'joules'.*known costs are macs, params"):
        decode(scores, terms, BudgetSet.parse("joules<=3"))


def test_jointly_unreachable_budgets_say_so() -> None:
    terms = {
        "a": CostTerms(0.0, (np.array([1.0, 9.0]),)),
        "b": CostTerms(0.0, (np.array([9.0, 1.0]),)),
    }
    both = BudgetSet.parse("a<=2, b<=2")
    with pytest.raises(BudgetError, match="together; with b<=2 the least a is 9; with a<=2 the least b is 9"):
        decode([np.zeros(2)], terms, both)
    with pytest.raises(BudgetError, match="together"):
        check_jointly_reachable(terms, both)


def test_ties_and_count_beyond_the_space() -> None:
    terms = {"a": CostTerms(0.0, (np.array([1.0, 1.0, 1.0]),))}
    found = decode([np.zeros(3)], terms, BudgetSet.parse("a<=1"), count=10)
    assert {d.choices for d in found} == {(0,), (1,), (2,)}


def test_a_refused_limit_and_the_bound_differ_in_print(imagenet_space: UnifiedSpace) -> None:
    terms = {name: model.terms for name, model in build_costs(imagenet_space).items()}
    low, high = reachable(terms, "macs")
    with pytest.raises(BudgetError) as caught:
        check_reachable(terms, BudgetSet((Budget("macs", low - 1),)))
    assert f"{low:,.0f} to {high:,.0f}" in str(caught.value)
    assert f"{low - 1:,.0f}" in str(caught.value)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.booleans(), st.booleans(), st.floats(0.05, 1.0), st.integers(1, 4))
def test_the_integer_program_agrees_with_the_search(
    seed: int, pairwise: bool, whole: bool, share: float, count: int
) -> None:
    """What a trellis cannot hold goes to the program: here all of it does."""
    scores, terms, everything = random_problem(seed, pairwise=pairwise, whole=whole)
    limit = max(1.0, sorted(terms["a"].cost(c) for c in everything)[round(share * (len(everything) - 1))])
    least = float(np.median([terms["b"].cost(c) for c in everything]))
    limits = [Limit(terms["a"], limit), Limit.floor(terms["b"], least)]
    pairs = {(0, 3): np.random.default_rng(seed).normal(size=(len(scores[0]), len(scores[3])))}
    found = LimitedSearch(limits, pairs).best(scores, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trellis, "_MOST_EDGES", 0)
        assert trellis.Trellis.of([terms["a"]]) is None
        expected = LimitedSearch(limits, pairs).best(scores, count)
        values = [terms["a"].cost(c) for c in everything]
        assert reachable(terms, "a") == pytest.approx((min(values), max(values)))
    assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-5)
    assert all(limit.allows(choices) for choices, _ in [*found, *expected] for limit in limits)


def test_what_the_search_cannot_prove_the_program_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every value near another: a beam of one path proves nothing."""
    rng = np.random.default_rng(0)
    terms = CostTerms(0.0, tuple(rng.integers(1, 50, 12).astype(float) for _ in range(6)))
    scores = [row / 50 + 0.01 * rng.random(12) for row in terms.unary]
    limit = Limit(terms, 0.6 * reachable({"a": terms}, "a")[1])
    expected = LimitedSearch([limit]).best(scores)
    monkeypatch.setattr(limited, "_WIDTHS", (1,))
    asked = []
    solve = limited.IntegerProgram.solve
    monkeypatch.setattr(limited.IntegerProgram, "solve", lambda self: asked.append(1) or solve(self))
    (found,) = LimitedSearch([limit]).best(scores)
    assert asked
    assert found[1] == pytest.approx(expected[0][1], abs=1e-5)


def test_one_decoder_answers_as_new_ones_do_and_proves_the_budgets_once(
    imagenet_space: UnifiedSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = build_costs(imagenet_space)
    terms = {name: model.terms for name, model in costs.items()}
    rng = np.random.default_rng(0)
    budgets = BudgetSet(tuple(Budget(name, sum(reachable(terms, name)) / 2) for name in ("macs", "params")))
    rows = [[np.log(rng.dirichlet(np.ones(80))) for _ in imagenet_space.decisions] for _ in range(3)]
    alone = [decode(scores, terms, budgets)[0].choices for scores in rows]
    proofs: list[int] = []
    check = decoder.check_reachable
    monkeypatch.setattr(decoder, "check_reachable", lambda *args: proofs.append(1) or check(*args))
    kept = decoder.Decoder(terms, budgets)
    assert [kept.decode(scores)[0].choices for scores in rows] == alone
    sampler = FeasibleSampler(imagenet_space, costs, budgets)
    proofs.clear()
    assert len(candidates_of(rows, sampler, candidates=12, seed=0)) == 12
    assert len(proofs) == 1
