"""A cost from a table: what the file says is what networks cost, and what is wrong with a file is named."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anybudget.architecture import Architecture
from anybudget.costs import CostModel, build_costs
from anybudget.costs.table import CostTable, TableCost, TableSettings
from anybudget.errors import BudgetError, ConfigError
from anybudget.spaces import MBConvSettings, MBConvSpace, SearchSpace, UnifiedSpace, stages
from anybudget.testing import check_cost_model
from tiny_spaces import tiny_macro

SPACE = MBConvSpace(
    MBConvSettings(
        input_size=8,
        classes=3,
        stem_width=4,
        first_width=0,
        head_width=8,
        stages=stages((4, 1, 1), (8, 2, 2)),
        operations=("k3_e3", "k5_e6", "skip"),
    )
)
NUMBERS = {"k3_e3": 0.1, "k5_e6": 0.3, "skip": 0.0}
TABLE: dict[str, Any] = {
    "space": "mbconv",
    "unit": "ms",
    "constant": 1.25,
    "decisions": {"layer 1": NUMBERS, "layer 2": {"k3_e3": 0.2, "k5_e6": 0.7, "skip": 0.05}, "layer 3": NUMBERS},
}


def table_cost(folder: Path, table: Any = TABLE, *, name: str = "latency_ms", space: SearchSpace = SPACE) -> CostModel:
    """The cost that a recipe with this table has."""
    (folder / "latency.json").write_text(table if isinstance(table, str) else json.dumps(table))
    tables = {name: ("table", TableSettings(file="latency.json"))}
    return build_costs(space, [name], tables=tables, folder=folder)[name]


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(TABLE))
    change(found)
    return found


def test_a_network_costs_the_sum_of_its_numbers(tmp_path: Path) -> None:
    model = table_cost(tmp_path)
    assert (model.name, model.unit, model.shown) == ("latency_ms", "ms", True)
    for choices, expected in (((0, 0, 0), 1.25 + 0.1 + 0.2 + 0.1), ((1, 1, 2), 1.25 + 0.3 + 0.7), ((2, 2, 2), 1.30)):
        assert model.cost(Architecture("mbconv", choices)) == pytest.approx(expected, rel=1e-12)
    check_cost_model(model, samples=30)


def test_pairs_add_what_two_choices_cost_together(tmp_path: Path) -> None:
    values = {first: dict.fromkeys(NUMBERS, 0.0) | ({"k5_e6": 0.5} if first == "k5_e6" else {}) for first in NUMBERS}
    pair = {"decisions": ["layer 1", "layer 2"], "values": values}
    model, plain = table_cost(tmp_path, {**TABLE, "pairs": [pair]}), table_cost(tmp_path)
    for choices, more in (((1, 1, 0), 0.5), ((1, 0, 0), 0.0), ((0, 1, 0), 0.0)):
        found = model.cost(Architecture("mbconv", choices)) - plain.cost(Architecture("mbconv", choices))
        assert found == pytest.approx(more, abs=1e-11)
    assert list(model.terms.pairwise) == [(0, 1)]
    check_cost_model(model, samples=30)


@pytest.mark.parametrize("space", [SPACE, UnifiedSpace(tiny_macro())], ids=["mbconv", "unified"])
def test_a_table_of_counted_macs_gives_the_macs(tmp_path: Path, space: SearchSpace) -> None:
    macs = build_costs(space, ["macs"])["macs"]
    text = CostTable.of(macs, "M").model_dump_json(indent=1)
    model = table_cost(tmp_path, text, name="counted_M", space=space)
    rng = np.random.default_rng(0)
    for _ in range(20):
        architecture = space.sample(rng)
        assert model.cost(architecture) == macs.cost(architecture)
    check_cost_model(model)


def test_sums_are_exact_in_any_order(tmp_path: Path) -> None:
    """0.1 + 0.2 + 0.3 and 0.3 + 0.2 + 0.1 are not the same float; networks that are the same cost the same."""
    numbers = {"k3_e3": 0.1, "k5_e6": 0.3, "skip": 0.2}
    alike = SPACE.settings.model_copy(update={"stages": stages((4, 6, 1))})
    space = MBConvSpace(alike)
    rows = {decision.name: numbers for decision in space.decisions}
    model = table_cost(tmp_path, {**TABLE, "decisions": rows}, space=space)
    for index in range(50):
        choices = np.random.default_rng(index).integers(3, size=6)
        assert model.terms.cost(choices) == model.terms.cost(choices[::-1])


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("", ("latency.json", "cannot read the table")),
        ("[1]", ("latency.json", "not an object but [1]")),
        (changed(lambda t: t.pop("constant")), ("key constant is missing",)),
        (changed(lambda t: t.update(joules=1)), ("unknown key joules",)),
        (changed(lambda t: t.update(space="fbnet")), ("'fbnet'", "'mbconv'")),
        (changed(lambda t: t.update(unit="us")), ("costs.latency_ms", "in us", "latency_us")),
        (changed(lambda t: t.update(constant=-1)), ("constant", "greater than or equal to 0", "-1")),
        (changed(lambda t: t.update(constant=True)), ("constant", "True")),
        (json.dumps(TABLE).replace("1.25", "NaN"), ("constant", "finite", "nan")),
        (json.dumps(TABLE).replace("0.7", "1e999"), ("decisions.layer 2.k5_e6", "finite", "inf")),
        (changed(lambda t: t["decisions"]["layer 2"].update(skip=-0.5)), ("decisions.layer 2.skip", "-0.5")),
        (changed(lambda t: t["decisions"]["layer 2"].pop("skip")), ("decisions.layer 2: no number for 'skip'",)),
        (changed(lambda t: t["decisions"].pop("layer 2")), ("decisions: no number for 'layer 2'",)),
        (
            changed(lambda t: t["decisions"].update({"layer 22": NUMBERS})),
            ("'layer 22' is not in this space", "did you mean 'layer 2'?"),
        ),
        (
            changed(lambda t: t["decisions"]["layer 1"].update({"k3_e4": 1})),
            ("decisions.layer 1: 'k3_e4' is not in this space", "did you mean 'k3_e3'?"),
        ),
        (
            changed(lambda t: t.update(pairs=[{"decisions": ["layer 1", "stem"], "values": {}}])),
            ("pairs.0.decisions: 'stem' is not in this space",),
        ),
        (
            changed(lambda t: t.update(pairs=[{"decisions": ["layer 2", "layer 1"], "values": {}}])),
            ("pairs.0.decisions", "in the order of"),
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_named(tmp_path: Path, table: Any, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        table_cost(tmp_path, table)
    assert all(word in str(caught.value) for word in ("costs.latency_ms: file: ", "latency.json", *words))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    tables = {"latency_ms": ("table", TableSettings(file="none.json"))}
    with pytest.raises(ConfigError, match=r"costs.latency_ms: file: .*none.json: cannot read the table: No such file"):
        build_costs(SPACE, tables=tables, folder=tmp_path)


def test_one_network_with_two_prices_is_refused(tmp_path: Path) -> None:
    """Layers 2 and 3 below are alike, so an identity may stand in either; the canonical form has it last."""
    alike = MBConvSpace(SPACE.settings.model_copy(update={"stages": stages((4, 3, 1))}))
    rows = {decision.name: dict(NUMBERS) for decision in alike.decisions}
    table_cost(tmp_path, {**TABLE, "decisions": rows}, space=alike)
    rows["layer 2"]["k3_e3"] = 0.2
    with pytest.raises(ConfigError, match=r"two ways to write one network cost .* ms.*'skip'.*the same number"):
        table_cost(tmp_path, {**TABLE, "decisions": rows}, space=alike)


def test_a_table_cannot_count_other_networks(tmp_path: Path) -> None:
    model = table_cost(tmp_path)
    assert not model.counts_any
    with pytest.raises(BudgetError, match="latency_ms is known for networks of the space mbconv only"):
        model.count(SPACE.block_specs(Architecture("mbconv", (0, 0, 0))))


def test_costs_below_zero_are_no_table() -> None:
    class Refund(TableCost):
        def __init__(self) -> None:
            super().__init__(SPACE, "back_ms", CostTable.model_validate({**TABLE}))
            self._terms.unary[0][0] = -1.0

    with pytest.raises(ConfigError, match="terms below 0"):
        CostTable.of(Refund(), "ms")


def test_the_table_of_the_page_is_one(tmp_path: Path) -> None:
    """What `docs/commands.md` shows, with the space that its names say."""
    page = (Path(__file__).parents[1] / "docs" / "commands.md").read_text()
    (block,) = (b for b in re.findall(r"```json\n(.*?)```", page, re.DOTALL) if '"decisions": {' in b)
    settings = SPACE.settings.model_copy(
        update={"stages": stages((4, 1, 1), (8, 1, 2)), "operations": ("k3_e3", "k3_e6", "skip")}
    )
    model = table_cost(tmp_path, block, space=MBConvSpace(settings))
    assert model.cost(Architecture("mbconv", (0, 2))) == pytest.approx(1.25 + 0.41 + 0.1)


LINES = """decision,choice,ms
constant,,1.25
layer 1,k3_e3,0.1
layer 1,k5_e6,0.3
layer 1,skip,0
layer 2,k3_e3,0.2
layer 2,k5_e6,0.7
layer 2,skip,0.05
layer 3,k3_e3,0.1
layer 3,k5_e6,0.3
layer 3,skip,0
"""
COLUMNS = """decision,k3_e3,k5_e6,skip
constant,1.25
layer 1,0.1,0.3,0
layer 2,0.2,0.7,0.05

layer 3,0.1,0.3,0
"""


def csv_cost(folder: Path, text: str, name: str = "latency_ms") -> CostModel:
    (folder / "phone.csv").write_bytes(text.encode())
    return build_costs(SPACE, [name], tables={name: ("table", TableSettings(file="phone.csv"))}, folder=folder)[name]


@pytest.mark.parametrize("text", [LINES, COLUMNS, "\ufeff" + COLUMNS.replace("\n", "\r\n").replace(",", ", ")])
@pytest.mark.parametrize("name", ["latency_ms", "latency_ms.phone"])
def test_a_csv_says_what_json_says(tmp_path: Path, text: str, name: str) -> None:
    model, same = csv_cost(tmp_path, text, name), table_cost(tmp_path)
    assert model.unit == "ms"
    for network in SPACE.enumerate():
        assert model.cost(network) == same.cost(network)


def test_a_cell_may_be_empty_where_a_decision_has_no_such_choice(tmp_path: Path) -> None:
    space = UnifiedSpace(tiny_macro(stages=stages((4, 2, 1)), kernels=(3,), max_expansion=2, skip_layers=True))
    first, second = (decision.choice_names for decision in space.decisions)
    names = list(dict.fromkeys((*first, *second)))
    lines = [f"decision,{','.join(names)}", "constant,1"]
    for decision in space.decisions:
        own = decision.choice_names
        lines.append(f"{decision.name},{','.join(str(own.index(n)) if n in own else '' for n in names)}")
    (tmp_path / "phone.csv").write_text("\n".join(lines))
    tables = {"latency_ms": ("table", TableSettings(file="phone.csv"))}
    model = build_costs(space, ["latency_ms"], tables=tables, folder=tmp_path)["latency_ms"]
    assert model.terms.constant + sum(float(row.max()) for row in model.terms.unary) == 1 + len(first) + len(second) - 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("its first line is ''", "begin the CSV with decision,choice,ms")),
        ("layer,choice,ms\n", ("'layer,choice,ms'", "begin the CSV")),
        ("decision,choice\nconstant,,1\n", ("2 columns", "begin the CSV")),
        (LINES.replace(",ms", ",us"), ("in us", "latency_us")),
        (LINES.replace(",ms", ",m s"), ("unit", "'m s'")),
        (LINES.replace("constant,,1.25\n", ""), ("no line 'constant'", "constant,,0")),
        (LINES + "constant,,2\n", ("line 12: constant has a number already",)),
        (LINES + "layer 3,skip,2\n", ("line 12: layer 3 skip has a number already",)),
        (LINES.replace("0.7", "-0.7"), ("line 7: '-0.7' for 'layer 2 k5_e6' is no number",)),
        (LINES.replace("0.7", "fast"), ("line 7: 'fast'",)),
        (LINES.replace("0.7", "nan"), ("line 7: 'nan'",)),
        (LINES.replace("0.7", "1e999"), ("line 7: '1e999'",)),
        (LINES.replace("0.7", "0,7"), ("line 7: has 4 columns, not 3",)),
        (LINES.replace("k5_e6,0.7", '"k5_e6,0.7'), ("line",)),
        (LINES.replace("layer 2,k5_e6,0.7\n", ""), ("decisions.layer 2: no number for 'k5_e6'",)),
        (LINES.replace("layer 2,k5_e6", "layer 2,k5_e5"), ("'k5_e5' is not in this space", "did you mean 'k5_e6'?")),
        (LINES + "layer 4,skip,0\n", ("'layer 4' is not in this space",)),
        (COLUMNS.replace("k5_e6", "k3_e3"), ("the column 'k3_e3' twice",)),
        (COLUMNS.replace("k5_e6", ""), ("a column without a name",)),
        (COLUMNS.replace("layer 2", "layer 1"), ("line 4: 'layer 1' has a line already",)),
        (COLUMNS.replace("0.05", "0.05,1"), ("line 4: has 4 numbers for 3 choices",)),
        (COLUMNS.replace("1.25", "1.25,3"), ("line 2: '' for 'constant' is no number",)),
        (COLUMNS.replace("0.7", ""), ("decisions.layer 2: no number for 'k5_e6'",)),
        (COLUMNS.replace("layer 3,0.1,0.3,0", "layer 3"), ("decisions.layer 3: no number for 'k3_e3'",)),
    ],
)
def test_what_is_wrong_with_a_csv_is_named(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        csv_cost(tmp_path, text)
    assert all(word in str(caught.value) for word in ("costs.latency_ms: file: ", "phone.csv", *words))
