"""Strided pointwise convolutions are PyTorch's, and train where PyTorch's crash."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from anybudget.nets.pointwise import PointwiseConv2d, strided_pointwise


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("channels", "size", "stride"), [(3, 8, 2), (8, 7, 2), (16, 9, 3), (2, 5, 2)])
def test_outputs_and_gradients_are_those_of_pytorch(
    channels: int, size: int, stride: int, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, channels, size, size).contiguous(memory_format=layout)
    weight, bias = torch.randn(6, channels, 1, 1), torch.randn(6)
    leaves = [tensor.clone().requires_grad_() for tensor in (x, weight, bias)]
    wanted = [tensor.double().requires_grad_() for tensor in (x, weight, bias)]
    found, plain = strided_pointwise(*leaves, stride), F.conv2d(*wanted, stride)
    assert found.is_contiguous(memory_format=layout)
    factors = torch.randn(found.shape)
    (found * factors).sum().backward()
    (plain * factors.double()).sum().backward()
    torch.testing.assert_close(found.double(), plain, rtol=1e-5, atol=1e-5)
    for one, other in zip(leaves, wanted, strict=True):
        torch.testing.assert_close(one.grad, other.grad.float(), rtol=1e-5, atol=1e-4)


def test_in_evaluation_it_is_the_plain_layer() -> None:
    torch.manual_seed(0)
    layer, x = PointwiseConv2d(4, 6, 2), torch.randn(2, 4, 9, 9)
    torch.testing.assert_close(layer(x), layer.eval()(x))
    assert torch.equal(layer(x), F.conv2d(x, layer.weight, None, 2))
    assert {name for name, _ in layer.named_parameters()} == {"weight"}


STEPS = """
import torch
from anybudget.nets.blocks import build_block, channels_last
from anybudget.spaces.blocks import SkipSpec
torch.set_num_threads(1)
for channels in (4, 8):
    block = channels_last(build_block(SkipSpec(channels, 8, 2, 56))).train()
    for _ in range(6):
        x = torch.randn(64, channels, 56, 56).contiguous(memory_format=torch.channels_last)
        block(x).square().mean().backward()
"""


def test_narrow_shortcuts_train_on_large_maps() -> None:
    """In a process of its own: PyTorch's own weight gradient ends it with a segmentation fault."""
    answer = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
