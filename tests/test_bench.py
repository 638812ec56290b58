"""`anybudget bench` as a whole, on a made-up benchmark: figures, resuming, images, and input that cannot be meant."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anybudget.architecture import Architecture
from anybudget.cli.bench import print_bench
from anybudget.costs import build_costs
from anybudget.costs.table import CostTable
from anybudget.errors import DataError
from anybudget.runs.bench import load_track, packaged_tracks, run_bench
from anybudget.runs.bench import seeds as bench_seeds
from anybudget.runs.bench.images import Wanted, prepare_images
from anybudget.runs.run import Run
from anybudget.runtime.signals import Stopped, StopRequest
from anybudget.search import STRATEGIES
from anybudget.spaces import NASBench201Settings, NASBench201Space
from anybudget.spaces.nas_bench_macro import NASBenchMacroSettings, NASBenchMacroSpace
from anybudget.storage.journal import Journal
from anybudget.storage.records import Bench
from anybudget.tabular.truth import Truth
from conftest import call, whole_table
from tiny_benchmark import BUDGETS, read, rows, tiny

__all__ = ["tiny"]

SPACES = {
    "nas-bench-macro": NASBenchMacroSpace(NASBenchMacroSettings()),
    "nas-bench-201": NASBench201Space(NASBench201Settings()),
}


def bench(folder: Path, out: str = "out", table: str = "table.json", seeds: int = 2, **changes: Any) -> Bench:
    overrides = [f"{key}={value}" for key, value in changes.items()]
    track = load_track("mbconv", str(folder / "tiny.toml"), overrides)
    return run_bench(track, folder / table, str(folder / "images.npz"), folder / out, seeds=seeds)


def timeless(folder: Path) -> dict[str, Any]:
    """The record without times."""
    found = json.loads((folder / "bench.json").read_text())
    for key in ("training_seconds", "scoring_seconds"):
        del found[key]
    for strategy in found["strategies"]:
        for part in ("spent", "training"):
            if strategy[part]:
                del strategy[part]["seconds"]
    return found


def answers(folder: Path, seed: int, name: str) -> list[Architecture]:
    found = json.loads((folder / f"seed-{seed}" / "bench" / f"{name}.json").read_text())
    return [Architecture.from_dict(row, name) for row in found["architectures"]]


def test_a_bench_says_what_answers_are_worth(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--table", tiny / "table.json", "--data", tiny / "images.npz", "--track", tiny / "tiny.toml")
    code, out, err = call(capsys, "bench", "mbconv", *arguments, "--seeds", 2, "--out", tiny / "out", "--json")
    assert code == 0, err
    found = Bench.model_validate_json(out)
    assert found == Bench.model_validate_json((tiny / "out" / "bench.json").read_text())
    truth = Truth.of(read(tiny / "table.json"))
    assert (found.networks, found.seeds, found.limits) == (45, (0, 1), BUDGETS)
    assert found.truth_percent == tuple(truth.percent)
    names = [strategy.name for strategy in found.strategies]
    assert sorted(names[:3]) == ["exhaustive", "generator", "random"]
    assert names[3:] == ["exhaustive-top1", "largest", "deepest"]
    by_name = {strategy.name: strategy for strategy in found.strategies}
    for name in names[:3]:
        regrets = []
        for seed in found.seeds:
            chosen = [truth.index[architecture] for architecture in answers(tiny / "out", seed, name)]
            assert all(truth.macs[row] <= limit for row, limit in zip(chosen, BUDGETS, strict=True))
            best = [truth.percent[truth.macs <= limit].max() for limit in BUDGETS]
            regrets.append(np.mean(best - truth.percent[chosen]))
        assert by_name[name].regret.values == pytest.approx(regrets)
        assert by_name[name].regret.mean == pytest.approx(np.mean(regrets))
        assert by_name[name].regret.error == pytest.approx(abs(regrets[0] - regrets[1]) / 2)
        assert by_name[name].violations == 0
    for seed, cloud in zip(found.seeds, found.clouds, strict=True):
        order = np.argsort(cloud.loss)
        by_top1 = sorted(order, key=lambda row: -cloud.top1_percent[row])
        for place, limit in enumerate(BUDGETS):
            first = next(row for row in order if truth.macs[row] <= limit)
            regret = truth.percent[truth.macs <= limit].max() - truth.percent[first]
            assert by_name["exhaustive"].by_budget[place].values[seed] == pytest.approx(regret)
            first = next(row for row in by_top1 if truth.macs[row] <= limit)
            regret = truth.percent[truth.macs <= limit].max() - truth.percent[first]
            assert by_name["exhaustive-top1"].by_budget[place].values[seed] == pytest.approx(regret)
    inside = by_name["exhaustive"].spent
    assert inside is not None
    assert inside.evaluations == (truth.macs <= max(BUDGETS)).sum()
    spent = by_name["exhaustive-top1"].spent
    assert spent is not None
    assert spent.evaluations == 45
    assert spent.images == 45 * (24 + 16)
    page = (tiny / "out" / "bench.html").read_text()
    assert page.count('class="cloud"') == 2
    code, out, err = call(capsys, "bench", "mbconv", *arguments, "--seeds", 2, "--out", tiny / "out")
    assert code == 0, err
    assert "exhaustive-top1" in out
    assert "ceiling: one training" in out


def test_other_accuracies_of_a_table_are_said_of_the_answers_to_the_largest_budget(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = json.loads((tiny / "table.json").read_text())
    table["elsewhere"] = [value / 2 for value in table["mean"]]
    (tiny / "table.json").write_text(json.dumps(table))
    arguments = ("--table", tiny / "table.json", "--data", tiny / "images.npz", "--track", tiny / "tiny.toml")
    code, out, err = call(capsys, "bench", "mbconv", *arguments, "--seeds", 2, "--out", tiny / "out")
    assert code == 0, err
    assert "elsewhere" in out
    assert "elsewhere</th>" in (tiny / "out" / "bench.html").read_text()
    found = Bench.model_validate_json((tiny / "out" / "bench.json").read_text())
    for strategy in found.strategies:
        elsewhere = strategy.others_percent["elsewhere"]
        assert elsewhere.values == pytest.approx([(value or 0.0) / 2 for value in strategy.largest_percent.values])


def test_answers_may_race(tiny: Path) -> None:
    changes = {
        "search.race": "{enabled = true, candidates = 4, epochs_per_round = 0.5}",
        "track.strategies": '["random"]',
    }
    found = bench(tiny, seeds=1, **changes)
    assert not (tiny / "out" / "seed-0" / "generator.safetensors").exists()  # nothing asks for one
    by_name = {strategy.name: strategy for strategy in found.strategies}
    plain, raced = by_name["exhaustive"], by_name["exhaustive, raced"]
    assert plain.spent is not None
    assert raced.spent is not None
    assert raced.spent.images > plain.spent.images
    truth = Truth.of(read(tiny / "table.json"))
    kept = json.loads((tiny / "out" / "seed-0" / "bench" / "exhaustive.json").read_text())
    winners = [Architecture.from_dict(row, "winner") for row in kept["raced"]["architectures"]]
    for place, limit in enumerate(BUDGETS):
        inside = [row for row in np.argsort(found.clouds[0].loss) if truth.macs[row] <= limit]
        finalists = {*inside[:4], truth.index[Architecture.from_dict(kept["architectures"][place], "answer")]}
        assert truth.index[winners[place]] in finalists
        regret = truth.percent[truth.macs <= limit].max() - truth.percent[truth.index[winners[place]]]
        assert raced.by_budget[place].mean == pytest.approx(regret)


def test_scores_are_those_of_the_evaluator(tiny: Path) -> None:
    found = bench(tiny, seeds=1)
    run = Run.open(tiny / "out" / "seed-0")
    truth = Truth.of(read(tiny / "table.json"))
    for row in (0, 20, 44):
        metrics = run.new_evaluator().score(truth.networks[row])
        assert found.clouds[0].loss[row] == pytest.approx(metrics.loss)
        assert found.clouds[0].top1_percent[row] == metrics.top1_percent


def test_a_sample_may_be_scored_in_place_of_all(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Orders and clouds are of the sample, any network can be judged, and what needs all scores is left out."""
    overrides = {"track.scored": 12, "track.strategies": '["random", "generator"]'}
    found = bench(tiny, seeds=1, **overrides)
    truth = Truth.of(read(tiny / "table.json"))
    sample = truth.sample(12)
    assert (found.networks, found.scored) == (45, 12)
    assert found.truth_percent == tuple(sample.percent)
    metrics = Run.open(tiny / "out" / "seed-0").new_evaluator().scores(sample.networks)
    assert found.clouds[0].loss == pytest.approx([one.loss for one in metrics])
    assert {strategy.name for strategy in found.strategies} == {"random", "generator", "largest", "deepest"}
    assert (found.first, found.blends) == ({}, ())
    assert len(truth.sample(100).networks) == 45
    chosen = [truth.index[architecture] for architecture in answers(tiny / "out", 0, "generator")]
    assert [percent for percent, _ in found.clouds[0].generated] == list(truth.percent[chosen])
    print_bench(found)
    assert "of which 12 drawn at random are scored" in capsys.readouterr().out
    page = (tiny / "out" / "bench.html").read_text()
    assert "12, drawn at random, have been scored" in page
    assert "exhaustive" not in page
    assert page.count('class="generated"') == len(BUDGETS)
    # All the others can be scored later, also those that strategies have asked for.
    whole = bench(tiny, seeds=1, **{**overrides, "track.scored": 0})
    assert "exhaustive" in {strategy.name for strategy in whole.strategies}
    assert len(whole.clouds[0].loss) == 45


def test_truth_reaches_no_strategy(tiny: Path) -> None:
    """Another truth of the same networks changes what answers are worth, and no answer."""
    (tiny / "other.json").write_text(json.dumps({**rows(0), **{"mean": rows(9)["mean"]}}))
    one, other = bench(tiny, seeds=1), bench(tiny, "other", "other.json", seeds=1)
    assert one.strategies[0].regret != other.strategies[0].regret
    for name in ("random", "generator"):
        assert answers(tiny / "out", 0, name) == answers(tiny / "other", 0, name)


def test_a_killed_bench_goes_on_where_it_was(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench(tiny, "whole", seeds=1)
    monkeypatch.setattr(bench_seeds, "GROUP", 10)
    stops = iter([False, False, True])

    class Asked(StopRequest):
        def check(self) -> None:
            if next(stops, False):
                raise Stopped(15)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "stop_if_asked", lambda _journal: Asked().check())
        with pytest.raises(Stopped):
            bench(tiny, seeds=1)
    scored = (tiny / "out" / "seed-0" / "bench" / "scores.jsonl").read_bytes()
    assert len(scored.splitlines()) == 1 + 30
    bench(tiny, seeds=1)
    assert (tiny / "out" / "seed-0" / "bench" / "scores.jsonl").read_bytes().startswith(scored)
    assert timeless(tiny / "out") == timeless(tiny / "whole")


def test_what_is_done_is_kept(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = bench(tiny, seeds=1)
    monkeypatch.setattr(bench_seeds, "make_strategy", None)
    monkeypatch.setattr(Run, "train_supernet", None)
    assert bench(tiny, seeds=1) == first


def test_every_registered_strategy_can_answer(tiny: Path) -> None:
    names = json.dumps(list(STRATEGIES.builtin))
    small = {
        "search.evolution": "{population = 4, generations = 2}",
        "search.nsga2": "{population = 4, generations = 2}",
    }
    small |= {f"search.{name}": "{epochs = 1, batch_size = 12}" for name in ("darts", "gdas", "fbnet", "setn")}
    small |= {"search.linear": "{samples = 12, candidates = 4}", "search.direct": "{epochs = 1, batch_size = 12}"}
    budgets = '["table_macs<=5k", "table_macs<=9k"]'
    found = bench(tiny, seeds=1, **{"track.strategies": names, "search.budgets": budgets, **small})
    assert {strategy.name for strategy in found.strategies} >= set(STRATEGIES.builtin)


def encoded(path: Path, classes: list[int], **changes: Any) -> Path:
    """An archive of encoded images, whose brightness tells which is which."""
    files = []
    for index in range(len(classes)):
        content = io.BytesIO()
        Image.new("RGB", (8, 8), (index, index, index)).save(content, "png")
        files.append(content.getvalue())
    offsets = np.cumsum([0, *map(len, files)])
    blob = np.frombuffer(b"".join(files), np.uint8)
    np.savez(path, **{"blob": blob, "offsets": offsets, "labels": np.array(classes), **changes})
    return path


def test_encoded_images_are_drawn_evenly_from_the_training_part(tmp_path: Path) -> None:
    labels = sorted([0, 1] * 25) + [0, 1] * 5  # sorted by class, as CIFAR-10's are; the last sixth is for testing
    source = encoded(tmp_path / "source.npz", labels)
    wanted = Wanted(20, 2, 8)
    path = prepare_images(str(source), tmp_path / "kept", wanted)
    with np.load(path) as found:
        chosen = found["x"][:, 0, 0, 0].astype(int)
        assert found["x"].shape == (20, 8, 8, 3)
        assert np.bincount(found["y"]).tolist() == [10, 10]
        assert [labels[index] for index in chosen] == found["y"].tolist()
        assert chosen.max() < 50
        assert not set(chosen) & set(found["xt"][:, 0, 0, 0].astype(int))
    written = path.read_bytes(), path.stat().st_mtime_ns
    assert prepare_images(str(source), tmp_path / "kept", wanted) == path
    assert (path.read_bytes(), path.stat().st_mtime_ns) == written


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blob": np.zeros(5)}, "blob: expected the bytes"),
        ({"labels": np.zeros(7, int)}, "offsets: expected 8 whole numbers"),
        ({"labels": np.full(60, 0.5)}, "labels: expected numbers"),
        ({"offsets": np.zeros(61, int)}, "offsets: expected rising positions"),
        ({"blob": np.zeros(10**5, np.uint8)}, "is no image file"),
        ({"labels": np.zeros(60, int)}, "training images of 1 classes, and the networks of the track tell 2 apart"),
        ({"labels": np.array([0, 1] + [1] * 58)}, "class 0 has 1 training images, and the track takes 12 of each"),
    ],
)
def test_damaged_archives_of_encoded_images_are_named(tmp_path: Path, changes: Any, message: str) -> None:
    source = encoded(tmp_path / "source.npz", sorted([0, 1] * 25) + [0, 1] * 5, **changes)
    with pytest.raises(DataError, match=message) as error:
        prepare_images(str(source), tmp_path / "kept", Wanted(20, 2, 8))
    assert "source.npz" in str(error.value)
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("mbconv", "nas-bench-makro"), "'nas-bench-makro' is no tabular benchmark; did you mean nas-bench-macro?"),
        (("tiny.toml", "slow"), "--track 'slow'"),
        (("tiny.toml", "none.toml"), "none.toml: no such recipe"),
        (("table.json", "images.npz"), "images.npz"),
        (("images.npz", "nothing.npz"), "nothing.npz"),
        (("mbconv", "nas-bench-201"), "space.name: the track is of 'mbconv', not of nas-bench-201"),
        (("--seeds 1", "--seeds 0"), "--seeds"),
        (("--set supernet.epochs=1", "--set track.images=3"), "known are track.train_images"),
        (("--set supernet.epochs=1", "--set track.train_images=many"), "track.train_images"),
        (("--set supernet.epochs=1", "--set track.train_images=9000"), "training images, and the track takes 3,010"),
        (("--set supernet.epochs=1", "--set track.scored=-1"), "track.scored"),
        (("--set supernet.epochs=1", '--set track.strategies=["guess"]'), "guess"),
        (("--set supernet.epochs=1", '--set search.budgets=["macs<=9k"]'), "a bench limits table_macs alone"),
        (("--set supernet.epochs=1", '--set search.budgets=["table_macs<=9"]'), "no network of at most 9e-06 M"),
        (("--set supernet.epochs=1", '--set space.operations=["skip","k3_e3"]'), "is not in this space"),
    ],
)
def test_what_cannot_be_meant_is_named(
    tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, change: Any, message: str
) -> None:
    monkeypatch.chdir(tiny)
    text = "bench mbconv --table table.json --data images.npz --track tiny.toml --seeds 1 --set supernet.epochs=1"
    code, _, err = call(capsys, *text.replace(*change).split())
    assert code == 2
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"macs": [1.0] * 81}, "multiply-adds are not those of the benchmark's networks"),
        ({}, "has 44 of the 45 distinct networks"),
    ],
)
def test_tables_that_are_not_the_benchmarks_are_named(tiny: Path, change: dict[str, Any], message: str) -> None:
    found = {**rows(0), **change}
    if not change:
        found = {name: values[:-1] for name, values in found.items()}
    (tiny / "table.json").write_text(json.dumps(found))
    with pytest.raises(DataError, match=message):
        bench(tiny)
    assert not (tiny / "out").exists()


@pytest.mark.parametrize("benchmark", ["nas-bench-macro", "nas-bench-201"])
def test_packaged_tracks_are_recipes_of_their_benchmark(benchmark: str, tmp_path: Path) -> None:
    tracks = packaged_tracks(benchmark)
    assert set(tracks) == {"quick", "standard", *(["full"] if benchmark == "nas-bench-201" else [])}
    for name in tracks:
        track = load_track(benchmark, name)
        images = track.settings.train_images + track.settings.validation_images
        assert images <= (50_000 if name == "full" else 40_000)
        space = SPACES[benchmark]
        (tmp_path / "table_macs.json").write_text(
            CostTable.of(build_costs(space, ("macs",))["macs"], "macs").model_dump_json()
        )
        recipe = track.recipe(3, tmp_path / "images.npz", tmp_path / "table_macs.json")
        assert recipe.seed == 3
        assert recipe.build_space().networks() == space.networks()
        limits = [budget.limit for budgets in recipe.budget_sets() for budget in budgets]
        expected = range(20, 101, 5) if benchmark == "nas-bench-macro" else range(20, 201, 20)
        expected = range(10, 221, 15) if name == "full" else expected
        assert limits == [1e6 * limit for limit in expected]


@pytest.mark.slow
def test_the_quick_track_runs_on_the_whole_table(tmp_path: Path, whole_macro_table: Path) -> None:
    """Trained for a moment: the figures that no training changes are the published ones, and no budget is broken."""
    images = whole_table("cifar10_jpeg.npz")
    small = ["track.train_images=300", "track.validation_images=40", 'track.strategies=["random"]']
    short = ["supernet.epochs=1", "generator.epochs=1", "generator.batch_size=20", "search.calibration_images=16"]
    track = load_track("nas-bench-macro", "quick", [*small, *short])
    found = run_bench(track, whole_macro_table, str(images), tmp_path, seeds=1)
    assert (found.networks, found.images["train"], found.images["validation"]) == (3969, 300, 40)
    assert round(found.random["50"], 2) == 0.33
    by_name = {strategy.name: strategy for strategy in found.strategies}
    assert round(by_name["largest"].regret.mean or 0, 2) == 2.05
    assert all(strategy.violations == 0 for strategy in found.strategies)
    assert all(0 < (strategy.hypervolume_ratio.mean or 0) <= 1 for strategy in found.strategies)
