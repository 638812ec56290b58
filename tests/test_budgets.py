from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anybudget.budgets import Budget, BudgetSet, format_quantity
from anybudget.errors import BudgetError


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
