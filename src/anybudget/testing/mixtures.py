"""The mixture of the unified supernet by definition, slow and obvious, to check the merged one against."""

from __future__ import annotations

from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.nets import Supernet, UnifiedSupernet
from anybudget.nets.modes import scoring
from anybudget.nets.norms import batch_norm, join, running_norm
from anybudget.nets.unified_block import SubBlock, UnifiedBlock


def explicit_mixture(
    supernet: Supernet, x: Tensor, probabilities: Tensor, *, batch_statistics: bool = False, joined: bool = False
) -> Tensor:
    """The mixture of all paths by definition: run every operation of every sub-block, then mix.

    What `RelaxedSupernet` must equal, in evaluation mode and, with `batch_statistics`, in training mode.

    Args:
        supernet: a frozen unified supernet in evaluation mode.
        x: images `[N, C, H, W]`.
        probabilities: `[decisions, choices]`.
        batch_statistics: normalise the shadow norms and what follows the layers by the batch.
        joined: run the depthwise convolutions of one kernel size together over all sub-blocks, three wide ones a layer
            instead of eighteen narrow ones; the same values, sooner.
    """
    assert isinstance(supernet, UnifiedSupernet)
    for block in supernet.before:
        x = block(x)
    for layer, decision, row in zip(supernet.layers, supernet.space.decisions, probabilities, strict=True):
        encoding, row = torch.from_numpy(decision.encoding()).to(row), row[: len(decision.choices)]
        usage = encoding.unflatten(1, (decision.slots, -1))[..., :-1]
        x = _explicit_block(cast(UnifiedBlock, layer), x, row, usage, batch_statistics, joined)
    with scoring(supernet.after) if batch_statistics else nullcontext():
        for block in supernet.after:
            x = block(x)
    return x


def _explicit_block(
    block: UnifiedBlock, x: Tensor, row: Tensor, usage: Tensor, batch_statistics: bool, joined: bool
) -> Tensor:
    members = [cast(SubBlock, member) for member in block.sub_blocks]
    rates = usage.sum((1, 2)).long()
    hidden = F.conv2d(x, join([member.expand.weight for member in members]))
    hidden = block.act(running_norm(hidden, [member.expand_norm for member in members]))
    weights = torch.einsum("c,csk->sk", _given_used(row, rates), usage)
    if joined:
        mixed = _mix(block, hidden, members, weights)
    else:
        parts = hidden.split(members[0].expand.out_channels, dim=1)
        mixed = torch.cat(
            [_mix(block, part, [m], w[None]) for part, m, w in zip(parts, members, weights, strict=True)], dim=1
        )
    out = F.conv2d(mixed, torch.cat([member.project.weight for member in members], dim=1))
    norm = batch_norm if batch_statistics else running_norm
    shadows = [
        row[rates == expansion].sum() * norm(out, [block.shadow_norm(expansion)])
        for expansion in sorted(set(rates.tolist()) - {0})
    ]
    total = torch.stack(shadows).sum(0)
    return total + x if block.residual else total


def _given_used(row: Tensor, rates: Tensor) -> Tensor:
    """Probabilities of the choices given that the layer is used, all alike where it never is."""
    used = rates > 0
    if used.all():
        return row
    share = row[used].sum()
    return used * (row / share if share > 0 else 1.0 / used.sum())


def _mix(block: UnifiedBlock, hidden: Tensor, members: list[SubBlock], weights: Tensor) -> Tensor:
    """Every kernel size over the channels of `members`, mixed by `weights` `[members, kernels]`, then activated."""
    mixed = None
    for index, kernel in enumerate(block.kernels):
        weight = join([cast(nn.Conv2d, member.depthwise[index]).weight for member in members])
        norms = [cast(nn.BatchNorm2d, member.depthwise_norms[index]) for member in members]
        value = F.conv2d(hidden, weight, stride=block.stride, padding=kernel // 2, groups=len(weight))
        share = weights[:, index].repeat_interleave(members[0].expand.out_channels)[:, None, None]
        term = running_norm(value, norms) * share
        mixed = term if mixed is None else mixed + term
    assert mixed is not None
    return cast(Tensor, block.act(mixed))
