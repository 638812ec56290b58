"""The command line end to end on a tiny recipe: stages, JSON, errors with exit code 2, interrupt and going on."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

from anybudget.architecture import Architecture
from anybudget.costs import build_costs
from anybudget.errors import AnyBudgetError
from anybudget.recipe import load_recipe
from anybudget.runs import run as stages
from anybudget.runs.run import Run
from conftest import call
from forked import command_stopped
from mistakes import missing


def test_run_writes_everything_a_report_needs(finished: Path) -> None:
    names = {str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()}
    assert {
        "recipe.toml", "provenance.json", "stages.json", "supernet.csv", "supernet.safetensors", "generator.csv",
        "generator.safetensors", "candidates.jsonl", "random.jsonl", "report.html",
    } <= names  # fmt: skip
    rows = [json.loads(line) for line in (finished / "candidates.jsonl").read_text().splitlines()]
    assert [row["budgets"] for row in rows] == [{"macs": 30000}, {"macs": 60000, "params": 1500}]
    assert all(row["costs"][name] <= limit for row in rows for name, limit in row["budgets"].items())
    random = [json.loads(line) for line in (finished / "random.jsonl").read_text().splitlines()]
    assert random
    for row in random:
        assert row["costs"]["macs"] >= 0.9 * row["budgets"]["macs"]
        assert all(row["costs"][name] <= limit for name, limit in row["budgets"].items())
    short_id = Architecture.from_dict(rows[0]["architecture"]).short_id
    assert f"retrain/{short_id}/weights.safetensors" in names
    assert "<svg" in (finished / "report.html").read_text()
    assert not [name for name in names if name.endswith((".pt", ".pth", ".pkl", ".bin"))]


def test_finished_stages_are_not_repeated(
    finished: Path, recipe_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.glob("*.safetensors")}
    code, _, err = call(capsys, "run", recipe_file, "--out", finished)
    assert code == 0
    assert "supernet: finished before, kept" in err
    assert {path: path.stat().st_mtime_ns for path in finished.glob("*.safetensors")} == before


def test_other_settings_are_never_mixed(finished: Path, recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "run", recipe_file, "--out", finished, "--set", "supernet.epochs=5")
    assert code == 2
    assert "supernet.epochs: 2 -> 5" in err


def test_stages_alone_equal_the_whole_run(
    finished: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = tmp_path / "parts"
    assert call(capsys, "supernet", recipe_file, "--out", parts)[0] == 0
    assert call(capsys, "generator", parts)[0] == 0
    code, out, _ = call(capsys, "generate", parts, "--json")
    assert code == 0
    again = json.loads(out)
    whole = [json.loads(line) for line in (finished / "candidates.jsonl").read_text().splitlines()]
    for one, other in zip(again, whole, strict=True):
        assert {k: v for k, v in one.items() if k != "seconds"} == {
            k: v for k, v in other.items() if k not in ("seconds", "layers", "answered")
        }
    code, out, _ = call(capsys, "supernet", parts)
    assert code == 0
    assert "finished before" in out


def test_generate_json_keys(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "generate", finished, "--budget", "macs<=40k, params<=1300", "-b", "macs<=1M", "--json")
    assert code == 0
    rows = json.loads(out)
    assert len(rows) == 2
    for row in rows:
        assert set(row) == {
            "budgets", "architecture", "costs", "slack", "unused_percent",
            "supernet_top1_percent", "supernet_balanced_accuracy_percent", "supernet_loss",
            "validation_largest_class_percent",
            "log_probability", "seconds",
        }  # fmt: skip
        assert {"macs", "params"} <= set(row["costs"])
        assert row["slack"] == {name: limit - row["costs"][name] for name, limit in row["budgets"].items()}
        assert min(row["slack"].values()) >= 0
        shares = [row["slack"][name] / limit for name, limit in row["budgets"].items()]
        assert row["unused_percent"] == pytest.approx(100 * min(shares))
    code, out, _ = call(capsys, "generate", finished)
    assert code == 0
    assert "macs<=30k" in out


def test_space_json_keys(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "space", recipe_file, "--json", "--budget", "macs<=1", "--budget", "macs<=1M")
    assert code == 0
    summary = json.loads(out)
    assert summary["space"] == "unified"
    assert summary["size"] == 6400
    assert summary["decisions"] == 2
    space = load_recipe(recipe_file).build_space()
    models, networks = build_costs(space), list(space.enumerate())
    for name, row in summary["costs"].items():
        costs = [models[name].cost(architecture) for architecture in networks]
        assert (row["min"], row["max"]) == (min(costs), max(costs))
        assert row["median"] == pytest.approx(sorted(costs)[len(costs) // 2], rel=0.02)
    assert [row["reachable"] for row in summary["budgets"]] == [False, True]
    code, out, _ = call(capsys, "space", recipe_file)
    assert code == 0
    assert "6,400 networks" in out
    assert "conv_macs" in out


def test_space_knows_the_size_of_the_paper_s_space(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = Path(__file__).parents[1] / "recipes" / "sgnas-imagenet.toml"
    code, out, _ = call(capsys, "space", recipe, "--json")
    assert code == 0
    assert json.loads(out)["size"] == 80**19


def test_retrain_takes_what_generate_prints(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "generate", finished, "-b", "macs<=50k", "--json")
    (tmp_path / "found.json").write_text(out)
    (tmp_path / "one.json").write_text(json.dumps(json.loads(out)[0]["architecture"]))
    for name, flag in (("found.json", "--inherit"), ("one.json", "--scratch")):
        code, out, err = call(capsys, "retrain", finished, tmp_path / name, flag, "--epochs", "1", "--json")
        assert code == 0, err
        (result,) = json.loads(out)
        assert result["inherited"] == (flag == "--inherit")
        assert 0 <= result["test_top1_percent"] <= 100
    code, out, _ = call(capsys, "retrain", finished, tmp_path / "one.json", "--epochs", "1")
    assert "test top-1" in out
    assert call(capsys, "report", finished)[0] == 0


def test_derived_networks_are_trained_and_counted_as_they_are(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--set", "retrain.activation=hard_swish", "--set", "retrain.se_reduction=2")
    code, _, err = call(capsys, "run", recipe_file, "--out", tmp_path / "run", *options)
    assert code == 0, err
    (path,) = (tmp_path / "run").glob("retrain/*/result.json")
    result = json.loads(path.read_text())
    space = load_recipe(recipe_file).build_space()
    plain = build_costs(space)["params"].cost(Architecture.from_dict(result["architecture"]))
    assert result["derived"]
    assert result["costs"]["params"] > plain
    with safe_open(path.with_name("weights.safetensors"), "pt") as weights:
        names = list(weights.keys())
        learned = [name for name in names if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))]
        assert sum(weights.get_tensor(name).numel() for name in learned) == result["costs"]["params"]
    assert any(".se." in name for name in names)
    (tmp_path / "one.json").write_text(json.dumps(result["architecture"]))
    code, _, err = call(capsys, "retrain", tmp_path / "run", tmp_path / "one.json", "--inherit")
    assert code == 2
    assert "retrain.se_reduction has no weights to inherit" in err


def test_a_cost_that_is_the_same_everywhere_conditions_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Path(__file__).parents[1] / "recipes" / "small" / "resnet-bits.toml"
    code, _, err = call(capsys, "run", recipe, "--out", tmp_path / "run", "--set", "generator.cost=macs")
    assert code == 2
    assert "generator.cost: macs is 2,152,256 for every network of this resnet-bits space" in " ".join(err.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "none.toml"], "none.toml"),
        (["run", "{recipe}", "--set", "supernet.epohcs=3"], "did you mean epochs?"),
        (["run", "{recipe}", "--set", "data.source=nowhere"], "nowhere"),
        (["run", "{recipe}", "--set", "space.classes=4"], "space.classes=3 (the recipe says 4)"),
        (["run", "{recipe}", "--set", "space.input_channels=3"], "space.input_channels=1 (the recipe says 3)"),
        (["run", "{recipe}", "--set", "search.budgets=['macs<=1']"], "macs<=1"),
        (["run", "{recipe}", "--set", "search.budgets=['joules<=1']"], "unknown cost 'joules'"),
        (["run", "{recipe}", "--set", "generator.cost=joules"], "unknown cost 'joules'"),
        (["run", "{recipe}", "--set", "device=quantum"], "'quantum' cannot be used here"),
        (["run", "{recipe}", "--set", "space.se_reduction=4"], "unknown key space.se_reduction"),
        (["run", "{recipe}", "--nonsense"], "--nonsense"),
        (["run"], "RECIPE"),
        (["nonsense"], "nonsense"),
        (["space", "{recipe}", "--budget", "macs<2M"], "write <= instead of <"),
        (["generate", "{run}", "--budget", "macs<=1"], "macs<=1"),
        (["generate", "{run}", "--budget", "macs<=30k, params<=1"], "params<=1"),
        (["generate", "{run}", "--budget", "watts<=1"], "unknown cost 'watts'"),
        (["generate", "nowhere"], "nowhere"),
        (["generator", "{recipe}"], "tiny.toml"),
        (["supernet", "{run}", "--set", "seed=3"], "--set need a recipe"),
        (["report", "nowhere"], "nowhere"),
        (["retrain", "{run}", "none.json"], "none.json"),
        (["retrain", "{run}", "{recipe}"], "tiny.toml"),
        (["retrain", "{run}", "{foreign}"], "3 choices, but this unified space has 2 decisions"),
    ],
)
def test_mistakes_end_with_one_message_and_code_2(
    arguments: list[str], message: str, finished: Path, recipe_file: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    foreign = tmp_path / "foreign.json"
    foreign.write_text(Architecture("unified", (0, 0, 0)).to_json())
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    named = {"recipe": recipe_file, "run": finished, "foreign": foreign}
    code, out, err = call(capsys, *(argument.format(**named) for argument in arguments))
    assert code == 2
    assert not missing(message, err), err
    assert "Traceback" not in out + err
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_rows_without_what_is_printed_are_no_traceback(
    finished: Path, recipe_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (row, *_) = [json.loads(line) for line in (finished / "candidates.jsonl").read_text().splitlines()]
    del row["costs"]
    (finished / "candidates.jsonl").write_text(json.dumps(row) + "\n")
    code, _, err = call(capsys, "run", str(recipe_file), "--out", str(finished))
    assert code == 2
    assert not missing("candidates.jsonl, line 1: key costs", err), err


def test_damaged_weights_are_named(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (finished / "supernet.safetensors").write_bytes(b"garbage")
    code, _, err = call(capsys, "generate", finished)
    assert code == 2
    assert "supernet.safetensors: damaged" in err


def test_a_stage_that_is_missing_names_its_command(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Run.create(load_recipe(recipe_file), tmp_path / "empty")
    code, _, err = call(capsys, "generator", tmp_path / "empty")
    assert code == 2
    assert "run: anybudget supernet" in err


ROOT = Path(__file__).parents[1]
LARGE = ("torch", "scipy.stats", "scipy.optimize", "PIL", "lightning")
"""What takes long to import."""


@pytest.mark.parametrize(
    ("arguments", "answers", "without"),
    [
        (["--help"], ["run", "generate", "report"], ["numpy", "pydantic", "rich.console", "importlib.metadata"]),
        (["generate", "--help"], ["--budget", "--race"], ["numpy", "rich.console"]),  # typer imports pydantic
        (["--version"], ["0."], ["numpy"]),
        (["space", str(ROOT / "recipes" / "sgnas-imagenet.toml")], ["unified", "macs"], []),
    ],
    ids=" ".join,
)  # fmt: skip
def test_commands_import_only_what_they_need(arguments: list[str], answers: list[str], without: list[str]) -> None:
    script = (
        "import sys, anybudget, anybudget.cli\n"
        f"sys.argv = ['anybudget', *{arguments}]\n"
        "try:\n    anybudget.cli.main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        f"found = sys.modules.keys() & { {*LARGE, *without} }\nassert not found, found\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert all(text in answer.stdout for text in answers)


def test_a_run_is_opened_without_a_home_statistics_or_pymoo() -> None:
    """They take as long to import as an answer without judging takes."""
    script = (
        "import sys, anybudget\nprint(anybudget.Run.__name__)\n"
        "assert not sys.modules.keys() & {'scipy.stats', 'scipy.optimize'}\n"
        "import anybudget.search.nsga2, anybudget.search.evolution, anybudget.search.random\n"
        "assert not any(name.startswith('pymoo') for name in sys.modules)\n"
    )
    bare = {name: value for name, value in os.environ.items() if name not in ("HOME", "USER", "LOGNAME")}
    answer = subprocess.run([sys.executable, "-c", script], env=bare, capture_output=True, text=True, check=False)
    assert (answer.stdout, answer.stderr) == ("Run\n", "")


def test_interrupt_keeps_finished_stages_and_goes_on(recipe_file: Path, tmp_path: Path) -> None:
    """Ctrl-C during the generator: exit code 130, one message, no traceback; the next run ends as if never stopped."""
    out = tmp_path / "stopped"
    saved = out / "checkpoints" / "generator.checkpoint"
    options = ["--set", "generator.epochs=4000", "--set", "checkpoint_seconds=0"]
    answer = command_stopped(["run", str(recipe_file), "--out", str(out), *options], signal.SIGINT, saved)
    assert answer.code == 130, answer.err
    assert "run the same command again" in answer.err
    assert "Traceback" not in answer.err
    run = Run.open(out)
    assert run.folder.finished("supernet")
    assert not run.folder.finished("generator")
    weights = (out / "supernet.safetensors").read_bytes()
    left = [path for path in out.rglob("*") if path.name.startswith(".") and path.name != ".lock"]
    assert not left  # no temporary file
    assert (out / "checkpoints" / "generator.checkpoint").exists()
    run.train_generator = lambda: run.folder.finish("generator", 0)  # type: ignore[method-assign]
    run.search = lambda: []  # type: ignore[method-assign]
    run.random_baseline = run.retrain_picks = lambda: None  # type: ignore[assignment, method-assign, return-value]
    said: list[str] = []
    run.run_all(said.append)
    assert said == ["supernet: finished before, kept"]
    assert (out / "supernet.safetensors").read_bytes() == weights


def test_native_prints_stay_out_of_standard_output() -> None:
    script = (
        "import ctypes, sys\nfrom anybudget.cli import process as cli\n"
        "sys.argv = ['anybudget', '--help']\ncli._divert_native_output()\n"
        "ctypes.CDLL(None).puts(b'noise of a solver')\nprint('answer')\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout == "answer\n"
    assert "noise" in answer.stderr


def test_names_of_the_data_package_are_where_it_says() -> None:
    from anybudget import data

    assert set(data.__all__) == set(data._HOMES)
    assert all(getattr(data, name) is not None for name in data.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = data.nothing


def test_public_names_are_importable() -> None:
    import anybudget

    for name in anybudget.__all__:
        assert getattr(anybudget, name) is not None
    with pytest.raises(AttributeError):
        anybudget.nothing_of_that_name  # noqa: B018
    assert issubclass(anybudget.AnyBudgetError, Exception)
    assert AnyBudgetError is anybudget.AnyBudgetError
    assert stages.Run is anybudget.Run
