"""The merged bottleneck against every convolution run separately, in float64: values and gradients."""

import pytest
import torch
from torch.nn import functional as F

from anybudget.nets import merged
from anybudget.nets.merged import FrozenBottleneck, merged_bottleneck
from anybudget.spaces.blocks import ActivationName

SUB_BLOCKS, CHANNELS, OUT = 4, 3, 5


def frozen_of(sizes: tuple[int, ...], stride: int, activation: ActivationName) -> FrozenBottleneck:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    largest = max(sizes)
    kernels = torch.zeros(SUB_BLOCKS, len(sizes), CHANNELS, largest, largest, dtype=torch.float64)
    for index, size in enumerate(sizes):
        margin = (largest - size) // 2
        kernels[:, index, :, margin : largest - margin, margin : largest - margin] = draw(
            SUB_BLOCKS, CHANNELS, size, size
        )
    width = SUB_BLOCKS * CHANNELS
    return FrozenBottleneck(
        draw(width, CHANNELS, 1, 1), draw(width), kernels, draw(SUB_BLOCKS, len(sizes), CHANNELS), sizes, stride,
        draw(OUT, width, 1, 1), activation,
    )  # fmt: skip


def explicit(x: torch.Tensor, weights: torch.Tensor, frozen: FrozenBottleneck) -> torch.Tensor:
    act = {"relu": F.relu, "relu6": F.relu6, "hard_swish": F.hardswish}[frozen.activation]
    hidden = act(F.conv2d(x, frozen.expand, frozen.expand_bias))
    padding = frozen.kernels.shape[-1] // 2
    parts = []
    for s, part in enumerate(hidden.split(CHANNELS, dim=1)):
        convs = [
            F.conv2d(part, frozen.kernels[s, k].unsqueeze(1), frozen.biases[s, k], frozen.stride, padding, 1, CHANNELS)
            for k in range(len(frozen.sizes))
        ]
        parts.append(torch.stack([w * conv for w, conv in zip(weights[s], convs, strict=True)]).sum(0))
    return F.conv2d(act(torch.cat(parts, dim=1)), frozen.project)


@pytest.mark.parametrize("activation", ["relu", "relu6", "hard_swish"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("sizes", [(3, 5, 7), (1, 5)])
@pytest.mark.parametrize("chunk", [1, 2**20])
def test_values_and_gradients(
    activation: ActivationName, stride: int, sizes: tuple[int, ...], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merged, "_CHUNK", chunk)
    frozen = frozen_of(sizes, stride, activation)
    generator = torch.Generator().manual_seed(1)
    results = []
    for forward in (merged_bottleneck, explicit):
        generator.manual_seed(1)
        x = torch.randn(3, CHANNELS, 9, 9, dtype=torch.float64, generator=generator).requires_grad_()
        weights = torch.rand(SUB_BLOCKS, len(sizes), dtype=torch.float64, generator=generator).requires_grad_()
        out = forward(x, weights, frozen)
        upstream = torch.randn(out.shape, dtype=torch.float64, generator=generator)
        kept = upstream.clone()
        results.append((out.detach(), *torch.autograd.grad(out, (x, weights), upstream)))
        assert torch.equal(upstream, kept)  # gradients are masked in place, but never one that belongs to others
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)
        assert theirs.abs().max() > 0
