"""`[costs]`: a recipe with a table of latencies, from its budgets to the report; and what is wrong with one."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs import cost_names
from anybudget.errors import BudgetError, ConfigError
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.search import STRATEGIES
from anybudget.spaces import SearchSpace, UnifiedSpace
from conftest import call

BOTH = 'search.budgets=["latency_ms<=3.1", "latency_ms<=3.4, macs<=60k"]'
FAST = ["search.random_baseline=2", "retrain.epochs=1", "supernet.epochs=1", "generator.epochs=1", BOTH]
SMALL = [
    "search.evolution={population=4,generations=1}",
    "search.nsga2={population=4,generations=1}",
    "search.refined={candidates=2,rounds=1,per_round=2}",
    "search.linear={samples=10,candidates=2}",
    "search.random={count=3}",
    *(f"search.{name}={{epochs=1, batch_size=16}}" for name in ("darts", "gdas", "fbnet", "setn")),
]


def write_table(path: Path, space: SearchSpace, **changes: object) -> None:
    """A table of latencies that are no multiple of the multiply-adds: kernel 3 is slow here."""
    cost = {"3x3": 0.4, "5x5": 0.25, "7x7": 0.3, "skip": 0.0}
    rows = {
        decision.name: {name: sum(cost[operation] for operation in name.split("+")) for name in decision.choice_names}
        for decision in space.decisions
    }
    path.write_text(json.dumps({"space": space.name, "unit": "ms", "constant": 1.5, "decisions": rows, **changes}))


def add_costs(recipe_file: Path, text: str = 'kind = "table"\nfile = "latency.json"') -> Path:
    """The tiny recipe with a table of latencies beside it."""
    write_table(recipe_file.parent / "latency.json", load_recipe(recipe_file).build_space())
    recipe_file.write_text(f"{recipe_file.read_text()}\n[costs.latency_ms]\n{text}\n")
    return recipe_file


@pytest.fixture
def latency_recipe(recipe_file: Path) -> Path:
    return add_costs(recipe_file)


def latency(space: UnifiedSpace, choices: Sequence[int]) -> float:
    """What the numbers above add up to."""
    cost = {3: 0.4, 5: 0.25, 7: 0.3}
    return 1.5 + sum(
        cost[kernel] for layer in space.kernels(Architecture("unified", tuple(choices))) for kernel in layer
    )


def test_a_run_with_a_table_from_budgets_to_report(latency_recipe: Path, tmp_path: Path) -> None:
    recipe = load_recipe(latency_recipe, [*FAST, *SMALL, 'generator.cost="latency_ms"'])
    path = tmp_path / "run"
    Run.create(recipe, path).run_all(lambda _said: None)
    # The run is whole: it does not need the file that the recipe named.
    latency_recipe.with_name("latency.json").unlink()
    moved = Path(shutil.move(path, tmp_path / "moved"))
    run = Run.open(moved)
    space = run.context.space
    assert isinstance(space, UnifiedSpace)
    rows = [json.loads(line) for line in (moved / "candidates.jsonl").read_text().splitlines()]
    assert [row["budgets"] for row in rows] == [{"latency_ms": 3.1}, {"latency_ms": 3.4, "macs": 60000.0}]
    for row in rows:
        assert row["costs"]["latency_ms"] == pytest.approx(latency(space, row["architecture"]["choices"]), rel=1e-12)
        assert all(row["costs"][cost] <= limit for cost, limit in row["budgets"].items())
    for result in moved.glob("retrain/*/result.json"):
        assert "latency_ms" in json.loads(result.read_text())["costs"]
    report = (moved / "report.html").read_text()
    assert "latency (ms)" in report
    assert "≤ 3.1 ms" in report
    budgets = [BudgetSet.parse("latency_ms<=3.3, params<=1M")]
    found = run.compare(list(STRATEGIES), budgets)
    for strategy in found["strategies"]:
        (candidate,) = strategy["candidates"]
        assert latency(space, candidate["architecture"]["choices"]) <= 3.3 + 1e-9, strategy["name"]


def test_a_recipe_is_known_again_by_what_its_table_says(
    latency_recipe: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, table = tmp_path / "run", latency_recipe.with_name("latency.json")
    assert load_recipe(latency_recipe, FAST) == load_recipe(latency_recipe, FAST)
    Run.create(load_recipe(latency_recipe, FAST), path)
    (kept,) = (path / "costs").iterdir()
    assert kept.read_bytes() == table.read_bytes()
    other = latency_recipe.with_name("same.json")
    other.write_bytes(table.read_bytes())
    Run.create(load_recipe(latency_recipe, [*FAST, "costs.latency_ms.file=same.json"]), path)
    assert not caplog.records
    write_table(table, load_recipe(latency_recipe).build_space(), constant=2.0)
    Run.create(load_recipe(latency_recipe, FAST), path)
    assert "costs.latency_ms.file: " in caplog.text
    least = Run.open(path).context.costs["latency_ms"].terms.constant
    assert least >= 2.0
    assert len(list((path / "costs").iterdir())) == 2


def test_the_command_line_knows_the_cost(latency_recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "space", latency_recipe, "--budget", "latency_ms<=3.1", "--json")
    summary = json.loads(out)
    assert code == 0
    assert set(summary["costs"]) == {*cost_names(), "latency_ms"}
    assert summary["costs"]["latency_ms"]["min"] == pytest.approx(1.5 + 4 * 0.25)
    assert summary["budgets"][0]["reachable"]
    code, _, err = call(capsys, "space", latency_recipe, "--budget", "latency_ms<=3.1ms")
    assert code == 2
    assert "a limit on latency_ms is in ms already, so write latency_ms<=3.1" in err
    code, _, err = call(capsys, "space", latency_recipe, "--budget", "latncy_ms<=3.1")
    assert code == 2
    assert f"known costs are {', '.join(cost_names())}, latency_ms" in err


def test_paths_are_relative_to_the_recipe_that_says_them(
    latency_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "small").mkdir()
    above = tmp_path / "small" / "above.toml"
    above.write_text('base = "../tiny.toml"\nname = "above"\n')
    monkeypatch.chdir(tmp_path / "small")
    (_, settings), *_ = load_recipe(Path("above.toml")).cost_tables().values()
    assert settings.model_dump()["file"] == str(tmp_path / "small" / ".." / "latency.json")
    shutil.copy(latency_recipe.with_name("latency.json"), above.with_name("own.json"))
    above.write_text('base = "../tiny.toml"\n[costs.latency_ms]\nfile = "own.json"\n')
    (_, settings), *_ = load_recipe(Path("above.toml")).cost_tables().values()
    assert settings.model_dump()["file"] == str(above.with_name("own.json"))


@pytest.mark.parametrize(
    ("text", "overrides", "words"),
    [
        ('kind = "tabel"', (), ("costs.latency_ms.kind", "unknown cost 'tabel'", "did you mean 'table'?")),
        ('file = "latency.json"', (), ("costs.latency_ms.kind", "the key is missing", "table")),
        ('kind = "table"', (), ("key costs.latency_ms.file is missing",)),
        ('kind = "table"\nfile = ""', (), ("costs.latency_ms.file", "must not be empty")),
        ('kind = "table"\nfle = "latency.json"', (), ("unknown key costs.latency_ms.fle", "did you mean file?")),
        ('kind = "macs"', (), ("costs.latency_ms: kind 'macs' has one name only", "[costs.macs]")),
        ('kind = "table"\nfile = "latency.json"\n[costs.macs]\nkind = "table"\nfile = "x"', (), ("costs.macs.kind",)),
        ('kind = "table"\nfile = "latency.json"\n[costs."a b"]\n', (), ("costs", "'a b'", "a budget cannot name it")),
        ('kind = "table"\nfile = "none.json"', (), ("costs.latency_ms: file: ", "none.json", "No such file")),
        ('kind = "table"\nfile = "latency.json"', ("costs=3",), ("costs: input should be a table",)),
        ('kind = "table"\nfile = "latency.json"', ("costs.latency_ms=3",), ("costs.latency_ms: ", "a table")),
        ('kind = "table"\nfile = "latency.json"', ("generator.cost=latency",), ("generator.cost", "latency_ms")),
        (
            'kind = "table"\nfile = "latency.json"',
            ("retrain.activation=hard_swish",),
            ("retrain.activation", "[costs.latency_ms]", "derived"),
        ),
    ],
)
def test_what_is_wrong_with_a_table_of_costs_is_named(
    recipe_file: Path, text: str, overrides: Sequence[str], words: Sequence[str]
) -> None:
    add_costs(recipe_file, text)
    with pytest.raises(ConfigError) as caught:
        load_recipe(recipe_file, overrides)
    assert all(word in str(caught.value) for word in ("tiny.toml", *words)), str(caught.value)


def test_a_budget_on_a_cost_that_no_table_gives_is_refused(recipe_file: Path) -> None:
    with pytest.raises(BudgetError, match=r"unknown cost 'latency_ms'.*\[costs.latency_ms\]"):
        load_recipe(recipe_file, ['search.budgets=["latency_ms<=3"]'])
