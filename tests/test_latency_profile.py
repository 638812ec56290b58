"""`anybudget profile` and what comes of it, by a runtime with planted latencies; no time is ever measured."""

import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import planted_runtime
from anybudget.costs import build_costs
from anybudget.costs.latency import LatencyProfile, LatencySettings, Precision
from anybudget.errors import ConfigError, RunError
from anybudget.latency.blocks import Blocks, block_terms, tabled, tabled_blocks
from anybudget.latency.fresh import Job, measure_fresh
from anybudget.latency.profiling import Profiler, ProfileSettings, profile_space
from anybudget.latency.runtimes import Conditions
from anybudget.recipe import load_recipe
from anybudget.runtime.progress import SilentProgress, Task
from anybudget.runtime.rounds import Rounds
from anybudget.runtime.signals import Stopped
from anybudget.spaces import MBConvSpace, SearchSpace, stages
from conftest import call
from tiny_spaces import small_channels, small_mbconv

SETTINGS = ProfileSettings("planted", fitted=23, checked=40)
SPACE = MBConvSpace(small_mbconv().settings.model_copy(update={"stages": stages((4, 3, 1), (8, 3, 2))}))


def truth(space: SearchSpace, architecture: Any) -> float:
    """The planted latency in ms."""
    runtime = planted_runtime.PlantedRuntime()
    return float(pickle.loads(Blocks(space, runtime).network(architecture)[0]))


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> LatencyProfile:
    return profile_space(SPACE, SETTINGS, tmp_path_factory.mktemp("profile") / "latency.json", SilentProgress())


def test_planted_latencies_are_found(profile: LatencyProfile, tmp_path: Path) -> None:
    check = profile.check
    assert check is not None
    assert check.mape_percent < 0.6
    assert check.within_3_percent == 100.0
    assert check.networks >= 40
    assert check.tau > 0.98
    assert profile.promises["p95"].scale > profile.promises["quiet"].scale
    (tmp_path / "latency.json").write_text(profile.model_dump_json())
    tables = {"latency_ms": ("latency", LatencySettings(file="latency.json"))}
    cost = build_costs(SPACE, tables=tables, folder=tmp_path)["latency_ms"]
    rng = np.random.default_rng(5)
    for _ in range(20):
        network = SPACE.sample(rng)
        assert truth(SPACE, network) == pytest.approx(cost.predicted(network), rel=0.02)  # type: ignore[attr-defined]
        assert truth(SPACE, network) <= cost.cost(network)


def test_a_profile_says_where_it_comes_from(profile: LatencyProfile) -> None:
    assert str(profile.running) == "planted 1.0, 1 thread, batch 1, fp32"
    assert profile.device.processor
    assert len(profile.device.load) == 2
    assert profile.device.cores >= 1


@pytest.mark.parametrize("space", [SPACE, small_channels()], ids=["mbconv", "channels"])
def test_the_table_of_blocks_adds_up(space: SearchSpace) -> None:
    """Blocks of one decision and of two: their sum is what the blocks of a network take."""
    runtime = planted_runtime.PlantedRuntime()
    blocks, rng = Blocks(space, runtime), np.random.default_rng(0)
    took = {block: float(pickle.loads(blocks.block(block)[0])) for block in tabled_blocks(blocks).values()}
    terms = block_terms(blocks, took)
    for _ in range(10):
        network = space.sample(rng)
        assert terms.cost(network.choices) == pytest.approx(sum(took[block] for block in blocks.of(network)))
    assert tabled(space)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_what_is_not_measured_block_by_block_is_fitted(tmp_path: Path, precision: Precision) -> None:
    """Cells depend on six decisions at once, and int8 says nothing of a block alone: multiply-adds are the prior."""
    cells = Path(__file__).parents[1] / "recipes" / "small" / "nas-bench-201.toml"
    space = SPACE if precision == "int8" else load_recipe(cells, ["space.input_size=8"]).build_space()
    settings = ProfileSettings("planted", precision=precision, fitted=23, checked=40)
    found = profile_space(space, settings, tmp_path / "latency.json", SilentProgress())
    assert tabled(space) is (precision == "int8")
    assert found.running.precision == precision
    assert found.check is not None
    assert found.check.mape_percent < (2 if precision == "int8" else 30)


def test_a_profile_that_failed_goes_on_where_it_was(
    profile: LatencyProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third process finds no room: what the first two measured is kept, and in the end all is as if nothing was."""
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "latency.json"
    real, begun = measure_fresh, []

    def failing(job: Job, task: Any = None) -> Any:
        begun.append(len(job.models))
        if len(begun) == 3:
            Path(planted_runtime.FAILING).write_text("0")
        return real(job, task) if task is not None else real(job)

    monkeypatch.setattr("anybudget.latency.profiling.measure_fresh", failing)
    with pytest.raises(RunError, match=r"measures latencies ended with code 1: MemoryError: no room for the network"):
        profile_space(SPACE, SETTINGS, out, SilentProgress())
    assert not out.exists()
    Path(planted_runtime.FAILING).unlink()
    with pytest.raises(RunError, match=r"a profile with other settings \(batch: 1 -> 2"):
        profile_space(SPACE, ProfileSettings("planted", fitted=23, checked=40, batch=2), out, SilentProgress())
    found = profile_space(SPACE, SETTINGS, out, SilentProgress())
    assert len(begun) == 3 + 3  # of five processes two were done: the first for the time of a network, then blocks
    assert (found.table, found.promises, found.check) == (profile.table, profile.promises, profile.check)
    assert [path.name for path in tmp_path.iterdir()] == ["latency.json"]


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, begun = tmp_path / "latency.json", []

    def full(path: Path, *_given: Any, **_named: Any) -> Path:
        raise RunError(f"{path}: cannot write: No space left on device; free some space")

    with monkeypatch.context() as patch:
        patch.setattr("anybudget.latency.profiling.write_whole", full)
        with pytest.raises(RunError, match="No space left"):
            profile_space(SPACE, SETTINGS, out, SilentProgress())
    monkeypatch.setattr("anybudget.latency.profiling.measure_fresh", lambda *_: begun.append(1))
    profile_space(SPACE, SETTINGS, out, SilentProgress())
    assert out.exists()
    assert not begun


def test_a_profile_that_is_stopped_ends_its_process(tmp_path: Path) -> None:
    class Stopping:
        @contextmanager
        def task(self, name: str, total: int) -> Iterator[Task]:
            del name, total
            yield self  # type: ignore[misc]

        def advance(self, steps: int = 1, figure: str = "") -> None:
            if not figure and steps > 1:  # a round of the first process is done
                raise Stopped(2)

    with pytest.raises(Stopped):
        profile_space(SPACE, SETTINGS, tmp_path / "latency.json", Stopping())  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == [".latency.json.journal"]


def test_there_is_too_little_time(tmp_path: Path) -> None:
    settings = ProfileSettings("planted", fitted=23, checked=40, seconds=0.01)
    with pytest.raises(
        ConfigError, match=r"--budget-seconds 0.01: a network takes .* ms here, .* at least \d+ seconds"
    ):
        profile_space(SPACE, settings, tmp_path / "latency.json", SilentProgress())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (ProfileSettings("onyx"), "unknown runtime 'onyx'; known are onnxruntime, openvino, torch"),
        (ProfileSettings("openvino", device="cuda"), "openvino"),
        (ProfileSettings("planted", device="tpu"), "--device tpu: planted measures on cpu"),
    ],
)
def test_what_cannot_be_measured_is_said(tmp_path: Path, settings: ProfileSettings, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Profiler(SPACE, settings, tmp_path / "journal")


def test_a_missing_runtime_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(ConfigError, match=r"--runtime openvino needs openvino.*pip install 'anybudget\[openvino\]'"):
        Profiler(SPACE, ProfileSettings("openvino"), tmp_path / "journal")


def test_a_refusal_of_the_other_process_is_the_users() -> None:
    runtime = planted_runtime.PlantedRuntime()
    model = pickle.dumps(1.0), (1, 4, 4)
    with pytest.raises(ConfigError, match="--device cuda: planted runs on cpu"):
        measure_fresh(Job(runtime, Conditions("cuda"), [model], model, Rounds(1, 1, 1)))


def recipe_with_latency(recipe_file: Path) -> Path:
    text = recipe_file.read_text()
    recipe_file.write_text(text + '\n[costs.latency_ms]\nkind = "latency"\nfile = "latency.json"\n')
    return recipe_file


def test_from_nothing_to_measured_answers_in_two_commands(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_with_latency(recipe_file)
    budgets = 'search.budgets=["latency_ms<=40%", "macs<=100%", "latency_ms<=90%"]'
    code, _, err = call(capsys, "run", recipe, "--set", budgets, "--out", tmp_path / "run")
    assert (code, "make it with: anybudget profile" in err) == (2, True)
    code, out, err = call(capsys, "profile", recipe, "--runtime", "planted", "--set", budgets)
    assert code == 0, err
    assert f"latencies: {recipe.with_name('latency.json')}" in out.replace("\n", "")
    assert "within 3%" in out
    fast = ["search.random_baseline=2", "retrain.epochs=1", "supernet.epochs=1", "generator.epochs=1"]
    sets = [part for text in (*fast, budgets) for part in ("--set", text)]
    code, out, err = call(capsys, "run", recipe, *sets, "--out", tmp_path / "run")
    assert code == 0, err
    assert "measured in a process of their own" in out
    rows = [json.loads(line) for line in (tmp_path / "run" / "latency.jsonl").read_text().splitlines()]
    assert [list(row["budgets"]) for row in rows] == [["latency_ms"]] * 2
    for row in rows:
        assert row["predicted_ms"] < row["promised_ms"] <= row["limit_ms"]
        assert row["measured_ms"] <= row["limit_ms"]
    report = (tmp_path / "run" / "report.html").read_text()
    assert 'id="latency"' in report
    assert "2 of 2 keep" in report
    code, out, err = call(capsys, "latency", tmp_path / "run", "--json")
    assert (code, [row["kept"] for row in json.loads(out)]) == (0, [True, True]), err


def test_another_processor_is_named_and_not_measured_on(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_with_latency(recipe_file)
    space = load_recipe(recipe_file, ["costs={}"]).build_space()
    path = recipe.with_name("latency.json")
    profile = profile_space(space, SETTINGS, path, SilentProgress())
    other = profile.model_copy(update={"device": profile.device.model_copy(update={"processor": "Cortex-A76"})})
    path.write_text(other.model_dump_json())
    fast = ["search.random_baseline=0", "retrain.epochs=1", "supernet.epochs=1", "generator.epochs=1"]
    fast += ['search.budgets=["latency_ms<=50%"]']
    sets = [part for text in fast for part in ("--set", text)]
    code, _, err = call(capsys, "run", recipe, *sets, "--out", tmp_path / "run")
    assert code == 0, err
    assert "answers are not measured here: it was measured on Cortex-A76" in " ".join(err.split())
    code, _, err = call(capsys, "latency", tmp_path / "run")
    assert (code, "no answer has a budget on a latency that can be measured here" in " ".join(err.split())) == (2, True)
