"""Batch normalisation over joined norms: the wide-row form against torch's own."""

import pytest
import torch
from torch import nn

from anybudget.nets.norms import batch_norm, folded, recording, reset_statistics, running_norm
from anybudget.testing import randomise_norms


def norms_of(*widths: int) -> list[nn.BatchNorm2d]:
    norms = [nn.BatchNorm2d(width).double() for width in widths]
    randomise_norms(nn.ModuleList(norms), torch.Generator().manual_seed(0))
    return norms


@pytest.mark.parametrize("shape", [(4, 12, 6, 6), (3, 5, 7, 7), (2, 16, 4, 4), (64, 4, 14, 14)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_equal_torch_s(
    shape: tuple[int, int, int, int], memory_format: torch.memory_format
) -> None:
    (norm,) = norms_of(shape[1])
    generator = torch.Generator().manual_seed(1)
    x = (3 * torch.randn(shape, generator=generator, dtype=torch.float64) + 5).contiguous(memory_format=memory_format)
    weights = torch.randn(shape, generator=generator, dtype=torch.float64)
    results = []
    for forward in (lambda value: batch_norm(value, [norm]), norm.train()):
        value = x.clone(memory_format=torch.preserve_format).requires_grad_()
        norm.zero_grad()
        out = nn.functional.relu(forward(value), inplace=True)
        (out * weights).sum().backward()
        assert norm.weight.grad is not None
        assert norm.bias.grad is not None
        results.append((out.detach(), value.grad, norm.weight.grad.clone(), norm.bias.grad.clone()))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("training", [True, False])
def test_joined_norms_equal_each_on_its_channels(training: bool) -> None:
    norms = norms_of(3, 5)
    x = torch.randn(4, 8, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    joined = batch_norm(x, norms) if training else running_norm(x, norms)
    parts = [norm.train(training)(part) for norm, part in zip(norms, x.split([3, 5], dim=1), strict=True)]
    torch.testing.assert_close(joined, torch.cat(parts, dim=1))


def test_folded_norm_is_the_running_norm() -> None:
    (norm,) = norms_of(6)
    x = torch.randn(2, 6, 3, 3, dtype=torch.float64)
    scale, shift = folded(norm)
    torch.testing.assert_close(x * scale[:, None, None] + shift[:, None, None], norm.eval()(x).detach())


def test_reset_averages_batches_with_equal_weight() -> None:
    norm = nn.BatchNorm2d(2).train()
    reset_statistics(norm)
    batches = [torch.randn(3, 2, 4, 4) + shift for shift in (0, 5, 7)]
    for batch in batches:
        with recording(norm):
            norm(batch)
    assert norm.momentum == 0.1
    torch.testing.assert_close(norm.running_mean, torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0))
