"""Networks as ONNX models: what is in them, that nothing is said or changed, and answers equal to PyTorch's."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from anybudget.errors import ConfigError
from anybudget.export.onnx_model import OPSET, to_onnx
from anybudget.spaces import SPACES
from anybudget.testing import randomise_norms
from conftest import slow_but
from exported import network_of


def answers(model: object, images: Tensor) -> np.ndarray:
    """What ONNX Runtime computes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)  # type: ignore[attr-defined]
    (found,) = session.run(["logits"], {"image": images.numpy()})
    return np.asarray(found)


def assert_equal_answers(network: nn.Module, images: Tensor) -> object:
    """The model of a network, after it has been compared for two numbers of images."""
    model = to_onnx(network, tuple(images.shape[1:]))
    for count in (1, len(images)):
        with torch.inference_mode():
            expected = network(images[:count]).numpy()
        np.testing.assert_allclose(answers(model, images[:count]), expected, rtol=1e-4, atol=1e-4 * abs(expected).max())
    return model


@pytest.mark.parametrize("name", slow_but(["unified", "nas-bench-201"], SPACES.builtin))
def test_every_space_has_equal_answers_in_onnx(name: str) -> None:
    network, _ = network_of(name)
    model = assert_equal_answers(network, torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(2)))
    operators = Counter(node.op_type for node in model.graph.node)  # type: ignore[attr-defined]
    # Only the last norm of NAS-Bench-201's networks has no convolution before it.
    assert operators["BatchNormalization"] == (name == "nas-bench-201")
    weights = sum(isinstance(layer, nn.Conv2d) for layer in network.modules())
    assert operators["Conv"] <= weights


def test_what_is_derived_is_exported_too() -> None:
    network, _ = network_of("unified", activation="hard_swish", se_reduction=4)
    assert_equal_answers(network, torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(2)))


def test_quantised_weights_of_any_size_are_constants() -> None:
    from anybudget.nets.quantised import BasicBlock
    from anybudget.spaces.resnet_bits import BasicBlockSpec

    block = BasicBlock([BasicBlockSpec(64, 128, 2, 8, 2, 4)])
    model = to_onnx(nn.Sequential(block), (64, 8, 8))
    operators = Counter(node.op_type for node in model.graph.node)
    assert operators["Round"] == 2  # of inputs: the first convolution and the shortcut share theirs
    assert operators["BatchNormalization"] == 0


def test_the_module_stays_as_it_is_and_nothing_is_said(
    capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    network = network_of("mbconv")[0].to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    drawn = torch.get_rng_state()
    model = to_onnx(network, (1, 28, 28), input_name="x", output_name="y")
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert capfd.readouterr() == ("", "")
    assert not list(recwarn)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    assert (model.graph.input[0].name, model.graph.output[0].name) == ("x", "y")
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert str(Path(__file__).parents[1]).encode() not in model.SerializeToString()


def test_a_norm_that_something_else_reads_around_is_kept() -> None:
    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.norm = nn.Conv2d(1, 3, 1), nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            one = self.one(x)
            return (self.norm(one + self.two(x)) + one).mean((2, 3))

    network = Around()
    randomise_norms(network, torch.Generator().manual_seed(0))
    model = assert_equal_answers(network.eval(), torch.rand(4, 1, 5, 5))
    assert [node.op_type for node in model.graph.node].count("BatchNormalization") == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("library", ["onnx", "onnxscript"])
def test_a_library_that_is_not_installed_is_named_with_its_extra(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=rf"an ONNX model needs {library}.*pip install 'anybudget\[onnx\]'"):
        to_onnx(nn.ReLU(), (1, 8, 8))


def test_the_biases_of_summed_convolutions_are_folded_too() -> None:
    class Summed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList(nn.Conv2d(2, 3, size, padding=size // 2, bias=size < 5) for size in (1, 3, 5))
            self.norm = nn.BatchNorm2d(3, eps=0.1)

        def forward(self, x: Tensor) -> Tensor:
            one, two, three = (part(x) for part in self.parts)
            return self.norm(one + (three + two)).mean((2, 3))

    torch.manual_seed(0)
    network = Summed()
    randomise_norms(network, torch.Generator().manual_seed(0))
    model = assert_equal_answers(network.eval(), torch.rand(4, 2, 6, 6))
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}  # type: ignore[attr-defined]
