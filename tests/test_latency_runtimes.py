"""Real runtimes: networks that are joined of their blocks, and a small profile by ONNX Runtime."""

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from anybudget.architecture import Architecture
from anybudget.export.onnx_model import to_onnx
from anybudget.latency.blocks import Blocks
from anybudget.latency.profiling import ProfileSettings, profile_space
from anybudget.latency.runtimes import Conditions, OnnxRuntime, Torch
from anybudget.nets import build_network
from anybudget.runtime.progress import SilentProgress
from anybudget.spaces import SearchSpace, UnifiedSpace
from tiny_spaces import small_mbconv, tiny_macro


def optimised(model: bytes, path: Path) -> Counter[str]:
    """The operators of what ONNX Runtime makes of a model, with how often each comes."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize(
    ("space", "choices"),
    [
        pytest.param(small_mbconv(3), (1, 2, 0), id="mbconv"),
        pytest.param(UnifiedSpace(tiny_macro()), None, id="unified", marks=pytest.mark.slow),
    ],
)
def test_a_network_of_joined_blocks_runs_as_the_exported_one(
    space: SearchSpace, choices: tuple[int, ...] | None, tmp_path: Path
) -> None:
    """ONNX Runtime makes the same of both: the same operators, as many of each, and the same answers."""
    network = space.sample(np.random.default_rng(0)) if choices is None else Architecture(space.name, choices)
    blocks = Blocks(space, OnnxRuntime())
    joined, shape = blocks.network(network)
    whole = build_network(space.block_specs(network)).eval()
    exported = to_onnx(whole, shape).SerializeToString()
    assert optimised(joined, tmp_path / "a.onnx") == optimised(exported, tmp_path / "b.onnx")
    onnx.checker.check_model(onnx.load_from_string(joined), full_check=True)
    x = np.random.default_rng(1).standard_normal((3, *shape), dtype=np.float32)
    session = onnxruntime.InferenceSession(joined, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": x})
    for block, own in zip((b for b in whole if not isinstance(b, torch.nn.Identity)), blocks.of(network), strict=True):
        block.load_state_dict(blocks.module(own).state_dict())
    with torch.no_grad():
        expected = whole(torch.from_numpy(x)).numpy()
    assert np.allclose(found, expected, atol=1e-4)
    assert found.shape == (3, space.classes)


def test_a_profile_by_onnx_runtime(tmp_path: Path) -> None:
    """Everything is real but the number of rounds; what it finds is not held to any time."""
    settings = ProfileSettings(fitted=12, checked=20, seconds=5.0)
    found = profile_space(small_mbconv(), settings, tmp_path / "latency.json", SilentProgress())
    assert found.running.runtime == "onnxruntime"
    assert found.running.version == onnxruntime.__version__
    assert found.check is not None
    assert len(found.promises["quiet"].errors) == found.check.networks >= 20
    assert found.probe is not None
    assert found.probe.ms > 0


def test_torch_runs_joined_blocks() -> None:
    space = small_mbconv()
    blocks = Blocks(space, Torch())
    model, shape = blocks.network(space.sample(np.random.default_rng(0)))
    network = pickle.loads(model)
    assert network(torch.zeros(2, *shape)).shape == (2, space.classes)
    Torch().session(model, shape, Conditions())()
