from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anybudget.budgets import (
    Budget,
    BudgetSet,
    exact_quantity,
    format_quantity,
    least_unused_percent,
    unused_percent,
)
from anybudget.errors import BudgetError
from mistakes import missing


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("macs<=2M", {"macs": 2_000_000}),
        ("macs <= 2.3M , params<=100k", {"macs": 2_300_000, "params": 100_000}),
        ("latency_ms≤12.5", {"latency_ms": 12.5}),
        ("macs<=1e6", {"macs": 1e6}),
        ("macs<=1.5e3k", {"macs": 1.5e6}),
        ("macs<=300_000", {"macs": 300_000}),
        ("macs<=1G", {"macs": 1e9}),
        ("macs<=1B", {"macs": 1e9}),
    ],
)
def test_parse(text: str, limits: dict[str, float]) -> None:
    assert BudgetSet.parse(text).limits() == limits


@pytest.mark.parametrize(
    "text",
    ["", " ", "macs", "macs<2M", "macs>=2M", "macs=2M", "<=2M", "macs<=", "macs<=M", "macs<=2X", "macs<=-2M", "macs<=0",
     "macs<=nan", "macs<=inf", "macs<=1e999", "macs<=2M,", "macs<=2M,,params<=1k", "macs<=1M, macs<=2M", "macs<=2 M M",
     "2M>=macs", "macs<=--3", "macs<=1.2.3", "macs<=½"],
)  # fmt: skip
def test_bad_budgets_are_errors(text: str) -> None:
    with pytest.raises(BudgetError):
        BudgetSet.parse(text)


@given(st.text(max_size=30))
def test_any_text_parses_or_is_a_budget_error(text: str) -> None:
    with suppress(BudgetError):
        assert all(limit > 0 for limit in BudgetSet.parse(text).limits().values())


@given(st.integers(1, 999_999), st.sampled_from(["k", "M", "G"]))
def test_a_suffix_multiplies_exactly(number: int, suffix: str) -> None:
    factor = {"k": 10**3, "M": 10**6, "G": 10**9}[suffix]
    limit = BudgetSet.parse(f"macs<={number / 1000}{suffix}").limits()["macs"]
    assert limit == number * factor // 1000


def test_a_budget_is_hard() -> None:
    budgets = BudgetSet((Budget("macs", 100), Budget("params", 10)))
    assert budgets.allows({"macs": 100, "params": 10, "other": 1e9})
    assert not budgets.allows({"macs": 100.0001, "params": 10})
    assert not budgets.allows({"macs": 1, "params": 11})


def test_format() -> None:
    assert [format_quantity(v) for v in (12, 999, 2345678, 1.5e9, 999_960)] == ["12", "999", "2.346M", "1.5G", "1M"]


def test_the_order_of_budgets_means_nothing() -> None:
    one, other = BudgetSet.parse("macs<=2M, params<=100k"), BudgetSet.parse("params<=100k, macs<=2M")
    assert one == other
    assert hash(one) == hash(other)
    assert str(one) == str(other) == "macs<=2M, params<=100k"
    assert list(one.limits()) == list(other.limits())
    assert one != BudgetSet.parse("macs<=2M, params<=101k")


@given(st.floats(min_value=1e-6, max_value=1e20) | st.integers(1, 10**15).map(float))
def test_a_budget_is_written_as_it_is_read(limit: float) -> None:
    budget = Budget("macs", limit)
    assert BudgetSet.parse(str(budget)) == BudgetSet((budget,))


def test_budgets_are_written_short_where_that_is_exact() -> None:
    limits = [240e3, 2_345_678, 15_816, 1.5e9, 900, 12.5]
    expected = ["240k", "2345678", "15.816k", "1.5G", "900", "12.5"]
    assert [str(Budget("macs", limit)) for limit in limits] == [f"macs<={text}" for text in expected]


def test_exact_quantities() -> None:
    assert [exact_quantity(v) for v in (15816.0, 15820.0, 12.5, 1e22)] == ["15,816", "15,820", "12.5", "1e+22"]


KNOWN = ("macs", "params", "conv_macs", "bitops")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("flops<=300M", ("unknown cost 'flops'", "2 FLOPs", "macs<=150M", "macs<=300M", "macs")),
        ("FLOPs<=1G", ("2 FLOPs", "macs<=500M")),
        ("MACs<=300M", ("unknown cost 'MACs'; did you mean macs?",)),
        ("Params<=3M", ("did you mean params?",)),
        ("param<=3M", ("did you mean params?",)),
        ("latency<=12ms", ("[costs.latency_ms]", "unknown suffix 'ms'")),
        ("latency_ms<=12", ("[costs.latency_ms]", "macs")),
        ("latency_ms<=12ms", ("in ms already, so write latency_ms<=12;",)),
        ("params<300m", ("<=", "unknown suffix 'm': did you mean M?", "k", "M")),
        ("macs<=2g", ("did you mean G?",)),
        ("macs>=2M", ("<=",)),
        ("macs=2M", ("<=",)),
        ("macs<=15,820", ("commas separate budgets, so write 15820",)),
        ("macs<=2MB", ("'MB'",)),
    ],
)  # fmt: skip
def test_what_was_probably_meant_is_said(text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(BudgetError) as caught:
        BudgetSet.parse(text, KNOWN)
    for part in words:
        assert not missing(part, str(caught.value)), caught.value


def test_unused_shares() -> None:
    budgets, costs = {"macs": 200.0, "params": 50.0}, {"macs": 150.0, "params": 45.0, "other": 1.0}
    assert unused_percent(budgets, costs) == {"macs": 25.0, "params": 10.0}
    assert least_unused_percent(budgets, costs) == 10.0  # of the tightest budget
    assert unused_percent({"macs": 100.0}, {"macs": 110.0}) == {"macs": -10.0}
