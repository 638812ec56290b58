"""Small spaces, nets, data and recipes that every test file shares."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import shlex
import shutil
import sys
from collections.abc import Hashable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
import typer.main

from anybudget.cli import process as cli
from anybudget.data import DataSplits, load_splits
from anybudget.errors import ConfigError
from anybudget.nets import UnifiedSupernet, build_supernet
from anybudget.recipe import load_recipe, resolved
from anybudget.runs.run import Run
from anybudget.runtime.optional import optional, timm
from anybudget.spaces import UnifiedSpace
from anybudget.storage.run_folder import RunFolder
from anybudget.testing import randomise_norms
from tiny_spaces import sgnas_settings, tiny_macro

HELPERS = (
    "data_sets",
    "html_tree",
    "mistakes",
    "report_comparisons",
    "report_pages",
    "stopping",
    "worth_records",
)
pytest.register_assert_rewrite(*HELPERS)

FACTS = Path(__file__).parent / "data"
"""Excerpts of published tables; `README.md` there says of which."""
WHOLE_TABLES = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Where a development tree has the whole tables."""

hypothesis.settings.register_profile("untimed", deadline=None)  # nothing here is held to a time
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _one_worker() -> Iterator[None]:
    """Work stays in this process, where a test can replace parts of it, unless a test asks for workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anybudget.runs.workers.usable_cores", lambda: 1)
        yield


@pytest.fixture(autouse=True, scope="session")
def _commands_made_once() -> Iterator[None]:
    """Typer would make all commands of the command line anew for every call, which takes longer than most of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", cache(typer.main.get_command))
        yield


def slow_but(quick: Iterable[Hashable], values: Iterable[Hashable]) -> list[Any]:
    """Parameters of a slow test: the `quick` ones run in `make test`, too."""
    kept = set(quick)
    return [pytest.param(value, marks=() if value in kept else pytest.mark.slow) for value in values]


@pytest.fixture(autouse=True)
def _timm_if_marked(request: pytest.FixtureRequest) -> None:
    """A test marked `timm` is skipped, by a message that says what to install, where timm cannot be imported."""
    if request.node.get_closest_marker("timm") is None:
        return
    try:
        timm("optim", "this test")
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def _detection_if_marked(request: pytest.FixtureRequest) -> None:
    """A test marked `detect` is skipped where torchvision or pycocotools cannot be imported, as above."""
    if request.node.get_closest_marker("detect") is None:
        return
    try:
        for module in ("torchvision.ops", "pycocotools.coco"):
            optional(module, "this test", "anybudget[detect]")
    except ConfigError as error:
        pytest.skip(str(error))


def whole_table(name: str) -> Path:
    """A whole benchmark table, which no clone has by itself."""
    path = WHOLE_TABLES / name
    if not path.is_file():
        pytest.skip(f"the whole table {path} is not here; tests/data has an excerpt")
    return path


@pytest.fixture
def whole_macro_table() -> Path:
    return whole_table("nas_bench_macro_cifar10.json")


@pytest.fixture
def whole_cell_table() -> Path:
    return whole_table("nas_bench_201_cifar10.npz")


EXCERPT_AND_WHOLE = ["excerpt", pytest.param("whole", marks=pytest.mark.slow)]


@pytest.fixture(params=EXCERPT_AND_WHOLE)
def macro_table(request: pytest.FixtureRequest) -> Path:
    """NAS-Bench-Macro's JSON."""
    if request.param == "whole":
        return whole_table("nas_bench_macro_cifar10.json")
    return FACTS / "nas_bench_macro_cifar10.json"


@pytest.fixture(params=EXCERPT_AND_WHOLE)
def cell_table(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """NAS-Bench-201's `.npz`."""
    if request.param == "whole":
        return whole_table("nas_bench_201_cifar10.npz")
    facts = json.loads((FACTS / "nas_bench_201_cifar10.json").read_text())
    columns = {name: np.array([row[name] for row in facts["rows"]]) for name in facts["rows"][0]}
    np.savez(tmp_path / "cells.npz", op_names=np.array(facts["op_names"]), **columns)
    return tmp_path / "cells.npz"


@pytest.fixture
def space() -> UnifiedSpace:
    return UnifiedSpace(tiny_macro())


@pytest.fixture
def imagenet_space() -> UnifiedSpace:
    return UnifiedSpace(sgnas_settings())


@pytest.fixture
def supernet(space: UnifiedSpace) -> UnifiedSupernet:
    """A supernet with random weights and random norm statistics, in evaluation mode."""
    torch.manual_seed(0)
    net = build_supernet(space)
    assert isinstance(net, UnifiedSupernet)
    randomise_norms(net, torch.Generator().manual_seed(1))
    return net.eval()


def write_images(path: Path, *, per_class: int = 40, test: int = 12, seed: int = 0) -> Path:
    """An `.npz` of 8x8 grey images of three classes that a small network can learn: a bright row at three heights."""
    rng = np.random.default_rng(seed)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % 3
        images = rng.integers(0, 90, (count, 8, 8)).astype(np.uint8)
        images[np.arange(count), 1 + 2 * labels] += 120
        return images, labels

    (x, y), (xt, yt) = draw(3 * per_class), draw(3 * test)
    np.savez(path, x=x, y=y, xt=xt, yt=yt)
    return path


@pytest.fixture
def image_file(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images.npz")


@pytest.fixture
def data(image_file: Path) -> DataSplits:
    return load_splits(str(image_file), seed=0, validation_fraction=0.3)


TRAIN = 84
"""Training images of the fixture `data`."""


RECIPE = """
name = "tiny"
threads = 1
device = "cpu"

[data]
source = "{source}"
validation_fraction = 0.3

[space]
input_size = 8
input_channels = 1
classes = 3
stem_width = 4
stem_stride = 1
stages = [{{ width = 4, repeats = 1, stride = 1 }}, {{ width = 6, repeats = 1, stride = 2 }}]

[supernet]
epochs = 2
batch_size = 16
learning_rate = 0.05

[generator]
epochs = 2
batch_size = 16

[search]
budgets = ["macs<=30k", "macs<=60k, params<=1500"]
calibration_images = 32
random_baseline = 3

[search.generator]
priors = 2
candidates = 4

[retrain]
epochs = 1
batch_size = 16
learning_rate = 0.05
picks = [1]
"""


@pytest.fixture
def recipe_file(tmp_path: Path, image_file: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE.format(source=image_file))
    return path


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run the command line in this process: exit code, standard output, standard error."""
    code = 0
    before = sys.argv
    logger = logging.getLogger("anybudget")
    heard = logger.handlers, logger.propagate, logger.level
    sys.argv = ["anybudget", *map(str, arguments)]
    try:
        cli.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.argv = before
        logger.handlers, logger.propagate, level = heard  # a command has its process to itself, and tests do not
        logger.setLevel(level)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="session")
def _finished_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of `image_file` and `recipe_file`, and the run of the recipe."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.toml").write_text(RECIPE.format(source=write_images(folder / "images.npz")))
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()):
        cli.app(["run", str(folder / "tiny.toml"), "--out", str(folder / "run")], standalone_mode=False)
    assert "report.html" in out.getvalue()
    return folder


@pytest.fixture
def finished(_finished_once: Path, recipe_file: Path, tmp_path: Path) -> Path:
    """The folder of a run of the tiny recipe with all its stages, a copy of one's own: as if it had been run here."""
    assert recipe_file.parent == tmp_path
    run = tmp_path / "run"
    shutil.copytree(_finished_once / "run", run)
    for path in (*run.glob("*.toml"), *run.glob("*.json"), *run.glob("*.html")):
        path.write_text(path.read_text().replace(str(_finished_once), str(tmp_path)))
    return run


SMALL_SEARCHES = """
[supernet.greedy]
sampled = 4
kept = 2
score_images = 16
pool_size = 8

[search.evolution]
population = 4
generations = 1

[search.nsga2]
population = 4
generations = 1

[search.linear]
samples = 10
candidates = 2

[search.direct]
epochs = 2
batch_size = 16
candidates = 4
"""
FEW_STEPS = [
    "supernet.epochs=1",
    "generator.epochs=1",
    "search.generator.candidates=3",
    "search.generator.priors=1",
    "search.calibration_images=64",
    "search.random_baseline=2",
    "retrain.epochs=1",
    "threads=1",
    "device=cpu",
]
"""Settings by which every stage of a recipe takes a few steps."""
RECIPES = Path(__file__).parents[1] / "recipes"


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe, its images, a finished run `run`, `half` with a supernet alone, and two runs not begun, for tables."""
    folder = tmp_path_factory.mktemp("prepared")
    write_images(folder / "images.npz")
    text = RECIPE.format(source="images.npz").replace("[supernet]", '[supernet]\nsampler = "greedy"')
    (folder / "tiny.toml").write_text(text + SMALL_SEARCHES)
    with contextlib.chdir(folder):
        for command in ("run tiny.toml --out run", "supernet tiny.toml --out half"):
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                cli.app(shlex.split(command), standalone_mode=False)
        for name in ("nas-bench-macro", "nas-bench-201"):
            RunFolder.create(Path(name), resolved(load_recipe(RECIPES / "small" / f"{name}.toml")))
    return folder


@pytest.fixture
def workshop(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `prepared` of one's own, and the current folder."""
    folder = tmp_path / "workshop"
    shutil.copytree(prepared, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def embedded() -> DataSplits:
    return load_splits("fashion-mnist-subset", seed=0)


def open_run(recipe_file: Path, path: Path, *overrides: str) -> Run:
    """A run that saves a checkpoint at every step."""
    return Run.create(load_recipe(recipe_file, ["checkpoint_seconds=0", *overrides]), path)
