"""Exported models that take pixels: their preprocessing is that of the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn

import anybudget
from anybudget.export.onnx_model import to_onnx
from anybudget.export.preprocessing import WithPreprocessing
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from conftest import RECIPE, call
from test_trained import colour_folder


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run on files in colour, and the folder of its derived network."""
    folder = tmp_path_factory.mktemp("coloured")
    colour_folder(folder / "images")
    changes = ("space.input_channels=3", "retrain.activation=hard_swish", "retrain.se_reduction=4")
    (folder / "r.toml").write_text(RECIPE.format(source=folder / "images"))
    opened = Run.create(load_recipe(folder / "r.toml", changes), folder / "run")
    architecture = opened.space.sample(np.random.default_rng(0))
    opened.retrain(architecture, epochs=1, inherit=False)
    return folder / "run", folder / "run" / "retrain" / architecture.short_id


def test_preprocessing_in_the_graph_is_that_of_the_data(coloured: tuple[Path, Path], tmp_path: Path) -> None:
    _, kept = coloured
    network, facts = anybudget.load(kept)
    file = tmp_path / "photo.png"
    pixels = np.random.default_rng(1).integers(0, 256, (20, 14, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    image = facts.read(file)
    prepared = WithPreprocessing(nn.Identity(), facts)(image.permute(1, 2, 0).unsqueeze(0))
    assert torch.equal(prepared, facts.prepare(file))
    model = to_onnx(WithPreprocessing(nn.Flatten(), facts), (8, 8, 3), dtype=torch.uint8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(None, {"image": image.permute(1, 2, 0).unsqueeze(0).numpy()})
    np.testing.assert_allclose(found.reshape(1, 3, 8, 8), facts.prepare(file).numpy(), rtol=1e-6, atol=1e-6)
    assert network is not None


def test_models_with_preprocessing_take_pixels(
    coloured: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, kept = coloured
    code, _, error = call(capsys, "export", kept, "--to", "onnx", "--with-preprocessing", "--out", tmp_path / "out")
    assert code == 0, error
    session = onnxruntime.InferenceSession(tmp_path / "out" / "network.onnx")
    (taken,) = session.get_inputs()
    assert (taken.type, taken.shape) == ("tensor(uint8)", ["batch", 8, 8, 3])
    network, facts = anybudget.load(kept)
    images = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    with torch.inference_mode():
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (facts.mean, facts.std))
        expected = network((images / 255 - mean) / std).numpy()
    (found,) = session.run(["logits"], {"image": images.permute(0, 2, 3, 1).numpy().copy()})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert "uint8 [N, 8, 8, 3]" in (tmp_path / "out" / "README.md").read_text()
