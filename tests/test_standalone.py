"""The stand-alone file of Python: equal logits for every space, only what is used, files prepared as in training."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from anybudget.data import DataFacts
from anybudget.data.preparation import BILINEAR, SHORTER_SIDE, Preparation
from anybudget.errors import ConfigError, DataError, RunError
from anybudget.export.image_network import ImageNetwork
from anybudget.export.source import network_code
from anybudget.export.standalone import named_weights, restored_weights, run_alone, write_source
from anybudget.nets import build_network
from anybudget.spaces import SPACES, BlockSpec, ClassifierSpec, Convolution
from anybudget.testing import randomise_norms
from anybudget.zoo import ZOO, Images
from exported import FACTS, network_of

ABOUT = ("A network", 'Found by "somebody" \\ in a test.')
LIBRARIES = {"argparse", "pathlib", "torch", "safetensors", "PIL"}


def written(folder: Path, specs: Sequence[BlockSpec], facts: DataFacts = FACTS) -> Path:
    path = folder / "network.py"
    path.write_text(write_source(specs, facts, module="network", about=ABOUT))
    return path


def imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("alone", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_equal_logits(network: nn.Module, specs: Sequence[BlockSpec], folder: Path) -> str:
    """The source of a network, whose logits were compared."""
    path = written(folder, specs)
    alone = imported(path).Network().eval()
    weights = named_weights(network, specs)
    alone.load_state_dict(weights)
    images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(alone(images), network(images), rtol=1e-5, atol=1e-6)
    own = restored_weights(weights, network, specs)
    assert {name: tensor.shape for name, tensor in own.items()} == {
        name: tensor.shape for name, tensor in network.state_dict().items()
    }
    return path.read_text()


@pytest.mark.parametrize("name", SPACES.builtin)
@settings(max_examples=3)
@given(seed=st.integers(0, 2**16))
def test_every_space_has_equal_logits_alone(name: str, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert_equal_logits(*network_of(name, seed), tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize("name", ZOO)
def test_every_network_of_the_zoo_has_equal_logits_alone(name: str, tmp_path: Path) -> None:
    specs = ZOO[name].specs(Images(1, 28, 10))
    network = build_network(specs).eval()
    randomise_norms(network, torch.Generator().manual_seed(0))
    source = assert_equal_logits(network, specs, tmp_path)
    assert_tidy(tmp_path / "network.py")
    assert "nn.SiLU" in source or name not in ("efficientnet-b0", "mixnet-m")
    model = ImageNetwork(network, specs)
    images = torch.rand(2, 1, 28, 28)
    with torch.inference_mode():
        assert torch.equal(model(images), network(images))
        model.reset_classifier(3)
        assert model(images).shape == (2, 3)


@pytest.mark.parametrize("name", ["unified", "mbconv", "fbnet", "shufflenet-channels"])
def test_what_is_derived_is_equal_too(name: str, tmp_path: Path) -> None:
    reduction = 0 if name == "shufflenet-channels" else 4
    source = assert_equal_logits(*network_of(name, 1, activation="hard_swish", se_reduction=reduction), tmp_path)
    assert "act=nn.Hardswish" in source


@pytest.mark.parametrize("name", SPACES.builtin)
def test_the_source_is_tidy_and_has_only_what_is_used(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, network_of(name)[1])
    assert_tidy(path)
    tree = ast.parse(path.read_text())
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {found.partition(".")[0] for found in names} <= LIBRARIES
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    text = path.read_text()
    assert all(text.count(f"{found}(") > 1 for found in classes if found != "Network")


def assert_tidy(path: Path) -> None:
    """As `ruff` formats it, and without a name too few or too many."""
    checks = (["format", "--check"], ["check", "--isolated", "--select", "E,F,W,I", "--target-version", "py311"])
    for check in checks:
        command = [sys.executable, "-m", "ruff", *check, "--line-length", "120", str(path)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=path.parent)
        assert answer.returncode == 0, answer.stdout + answer.stderr


def test_it_runs_by_itself_and_classifies_a_file(tmp_path: Path) -> None:
    network, specs = network_of("mbconv")
    facts = replace(FACTS, class_names=("Schuh", 'a "bag"', "鞋", *"defghij"))
    path = written(tmp_path, specs, facts)
    save_file(named_weights(network, specs), tmp_path / "network.safetensors")
    images = torch.randint(0, 256, (3, 1, 28, 28), dtype=torch.uint8)
    logits = run_alone(tmp_path, "network", images)
    with torch.inference_mode():
        torch.testing.assert_close(logits, network((images.float() / 255 - FACTS.mean[0]) / FACTS.std[0]))
    Image.fromarray(images[0, 0].numpy()).save(tmp_path / "photo.png")
    answer = subprocess.run(
        [sys.executable, "-I", str(path), str(tmp_path / "photo.png"), "--top", "1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert facts.class_names is not None
    assert answer.stdout.split("%")[1].strip() == facts.class_names[int(logits[0].argmax())]


def test_a_file_that_imports_anybudget_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "network.py").write_text("import anybudget\n")
    with pytest.raises(RunError, match="does not run by itself, and nothing is written"):
        run_alone(tmp_path, "network", torch.zeros(1, 1, 8, 8, dtype=torch.uint8))


@pytest.mark.parametrize("stored", ["files", "arrays"])
@pytest.mark.parametrize("channels", [1, 3])
def test_files_are_prepared_as_in_training(stored: str, channels: int, tmp_path: Path) -> None:
    preparation = Preparation(channels, 28, 28, SHORTER_SIDE, BILINEAR)
    mean, std = (0.3, 0.4, 0.5)[:channels], (0.2, 0.25, 0.3)[:channels]
    facts = replace(FACTS, preparation=preparation, mean=mean, std=std, stored=stored)  # type: ignore[arg-type]
    alone = imported(written(tmp_path, network_of("mbconv")[1], facts))
    rng = np.random.default_rng(0)
    for number, (size, mode) in enumerate([((40, 61), "RGB"), ((300, 200), "L"), ((28, 28), "RGBA"), ((9, 5), "P")]):
        pixels = rng.integers(0, 256, (size[1], size[0], 4 if mode == "RGBA" else 3), dtype=np.uint8)
        image = Image.fromarray(pixels)
        image = image if mode == "RGBA" else image.convert(mode)
        for ending in ("png", *(["jpg"] if mode in ("RGB", "L") else [])):
            file = tmp_path / f"{number}.{ending}"
            image.save(file)
            assert torch.equal(alone.prepare(file), facts.prepare(file)), (file, mode)


def test_deep_images_and_images_of_another_size(tmp_path: Path) -> None:
    deep = replace(FACTS, preparation=replace(FACTS.preparation, value_range=(100.0, 4095.0)))
    alone = imported(written(tmp_path, network_of("mbconv")[1], deep))
    values = np.random.default_rng(0).integers(0, 5000, (28, 28)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    assert torch.equal(alone.prepare(tmp_path / "deep.png"), deep.prepare(tmp_path / "deep.png"))
    Image.fromarray(values[:, :20]).save(tmp_path / "narrow.png")
    with pytest.raises(DataError, match="20×28"):
        deep.prepare(tmp_path / "narrow.png")
    with pytest.raises(ValueError, match="is 20x28 pixels, and the network takes 28x28"):
        alone.prepare(tmp_path / "narrow.png")


def test_a_block_without_source_is_named() -> None:
    class OwnSpec(BlockSpec):
        def convolutions(self) -> tuple[Convolution, ...]:
            return ()

    with pytest.raises(ConfigError, match=r"no source is registered for blocks of the kind OwnSpec.*--to onnx"):
        network_code((OwnSpec(), ClassifierSpec(4, 2)))
    with pytest.raises(ConfigError, match="has to end with a classifier"):
        network_code((OwnSpec(),))
