"""A retrained network outside its run: loaded from a copy of its folder, given files, equal to the last bit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import anybudget
from anybudget.errors import AnyBudgetError, DataError, RunError
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from conftest import RECIPE

FILES = ("network.json", "data.json", "weights.safetensors")


def colour_folder(root: Path) -> Path:
    """Colour images of several sizes, of three classes."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("zebra", "ant", "bee")):
        (root / name).mkdir(parents=True)
        for number in range(12):
            size = (11 + number, 17 - number % 3, 3)
            pixels = rng.integers(0, 150, size, dtype=np.uint8) + np.uint8(40 * label)
            Image.fromarray(pixels).save(root / name / f"{number}.{'jpg' if number % 2 else 'png'}")
    return root


def retrained(folder: Path, source: Path, *overrides: str) -> tuple[Run, Path]:
    """A run with one retrained network, and the folder of that."""
    (folder / "r.toml").write_text(RECIPE.format(source=source))
    run = Run.create(load_recipe(folder / "r.toml", overrides), folder / "run")
    architecture = run.space.sample(np.random.default_rng(0))
    run.retrain(architecture, epochs=1, inherit=False)
    return run, folder / "run" / "retrain" / architecture.short_id


@pytest.fixture(scope="module")
def on_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    folder = tmp_path_factory.mktemp("trained")
    colour_folder(folder / "images")
    # Squeeze-and-excitation and another activation: the network is more than its architecture.
    changes = ("space.input_channels=3", "retrain.activation=hard_swish", "retrain.se_reduction=4")
    return retrained(folder, folder / "images", *changes)


@pytest.fixture
def alone(on_files: tuple[Run, Path], tmp_path: Path) -> Path:
    """The files that make a network, without its run."""
    (tmp_path / "alone").mkdir()
    for name in FILES:
        shutil.copy(on_files[1] / name, tmp_path / "alone")
    return tmp_path / "alone"


def test_a_file_is_seen_outside_as_training_saw_it(on_files: tuple[Run, Path], alone: Path) -> None:
    run, _ = on_files
    state = torch.get_rng_state()
    network, facts = anybudget.load(alone)
    assert torch.equal(torch.get_rng_state(), state)
    assert isinstance(network, nn.Module)
    assert not network.training
    assert facts.class_names == ("ant", "bee", "zebra")
    data, seen = run.data, 0
    by_class = run.data.test()
    files = sorted((Path(run.context.source) / "zebra").iterdir(), key=lambda path: path.name.encode())
    for file in files:
        image = facts.read(file)
        matches = (by_class.images == image).flatten(1).all(1).nonzero().flatten().tolist()
        if not matches:  # in another split
            continue
        seen += 1
        inside = data.normalise(by_class.images[matches[:1]])
        with torch.inference_mode():
            expected = network(inside)
        assert torch.equal(facts.prepare(file), inside)
        probabilities = facts.classify(network, file)
        assert list(probabilities) == [facts.class_names[index] for index in expected[0].argsort(descending=True)]
        assert list(probabilities.values()) == expected[0].softmax(0).sort(descending=True).values.tolist()
    assert seen


def test_the_weights_score_as_they_did_when_they_were_saved(on_files: tuple[Run, Path]) -> None:
    from anybudget.evaluation.evaluator import evaluate

    run, folder = on_files
    network, _ = anybudget.load(folder)
    result = json.loads((folder / "result.json").read_text())
    assert evaluate(network, run.data.test(), run.data).top1_percent == result["test_top1_percent"]


@pytest.mark.parametrize("names", [None, ["low", "middle", "high"]])
def test_arrays_are_resized_outside_as_inside(names: list[str] | None, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (60, 12, 14), dtype=np.uint8), np.arange(60) % 3
    np.savez(tmp_path / "d.npz", x=x, y=y, **({"classes": np.array(names)} if names else {}))
    run, folder = retrained(tmp_path, tmp_path / "d.npz")
    network, facts = anybudget.load(str(folder))
    facts_file = json.loads((folder / "data.json").read_text())
    assert facts_file["class_names"] == names
    assert "source" not in facts_file
    Image.fromarray(x[0]).save(tmp_path / "0.png")
    inside = torch.cat([run.data.train.images, run.data.validation.images, run.data.test().images])
    assert (inside == facts.read(tmp_path / "0.png")).flatten(1).all(1).any()
    assert set(facts.classify(network, tmp_path / "0.png")) == set(names or ("0", "1", "2"))


@pytest.mark.parametrize("name", FILES)
def test_a_network_that_lacks_a_file_or_has_a_damaged_one_is_named(name: str, alone: Path) -> None:
    whole = (alone / name).read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"\x80\x04K\x01.", b"[]", b'{"format": "other"}'):
        (alone / name).write_bytes(content)
        with pytest.raises(RunError, match=name.replace(".", r"\.")):
            anybudget.load(alone)
    (alone / name).unlink()
    with pytest.raises(RunError, match=f"lacks {name}"):
        anybudget.load(alone)


WRONG: dict[str, tuple[str, Callable[[dict], object]]] = {
    "mean": ("data.json", lambda values: values.update(mean=[0.5])),
    "std": ("data.json", lambda values: values.update(std=[1, 0, 1])),
    "class_names": ("data.json", lambda values: values.update(class_names=["a"])),
    "channels": ("data.json", lambda values: values.update(channels=True)),
    "height": ("data.json", lambda values: values.pop("height")),
    "space": ("network.json", lambda values: values.update(space={"name": "unknown"})),
    "input_size": ("network.json", lambda values: values["space"].update(input_size="big")),
    "choices": ("network.json", lambda values: values["architecture"].update(choices=[999])),
    "se_reduction": ("network.json", lambda values: values.update(se_reduction="x")),
    "another network": ("network.json", lambda values: values["space"].update(stem_width=6)),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_value_that_cannot_be_is_refused(name: str, alone: Path) -> None:
    file, change = WRONG[name]
    values = json.loads((alone / file).read_text())
    change(values)
    (alone / file).write_text(json.dumps(values))
    with pytest.raises(RunError, match=r"put the file back as it was, or retrain"):
        anybudget.load(alone)


def test_what_a_newer_version_has_written_is_named(alone: Path) -> None:
    values = json.loads((alone / "data.json").read_text())
    (alone / "data.json").write_text(json.dumps(values | {"version": 2}))
    with pytest.raises(RunError, match=r"data\.json: .* a newer version of anybudget \(data 2, here 1\): update"):
        anybudget.load(alone)


def test_folders_that_are_no_network(on_files: tuple[Run, Path], tmp_path: Path) -> None:
    run, folder = on_files
    with pytest.raises(RunError, match=f"a run folder, not a network; give one of its networks, such as {folder}"):
        anybudget.load(run.folder.path)
    with pytest.raises(RunError, match="no such folder"):
        anybudget.load(tmp_path / "nothing")
    with pytest.raises(RunError, match=r"lacks network.json, data.json, weights.safetensors"):
        anybudget.load(tmp_path)


def test_files_that_are_no_images(alone: Path, tmp_path: Path) -> None:
    network, facts = anybudget.load(alone)
    (tmp_path / "text.png").write_text("no image")
    for file in (tmp_path / "text.png", tmp_path / "nothing.png", tmp_path):
        with pytest.raises(DataError, match="give an image file that Pillow opens"):
            facts.classify(network, file)
    assert issubclass(DataError, AnyBudgetError)
