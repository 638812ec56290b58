"""The unified block: one layer of the unified supernet at its greatest width, of which a path runs a part."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.nets.blocks import InvertedBottleneck, KernelBranch, activation
from anybudget.nets.depthwise import DepthwiseConv2d, depthwise_conv2d
from anybudget.nets.expand_depthwise import expand_depthwise
from anybudget.nets.mixture import in_full, taking_part, weighted_sum
from anybudget.nets.norms import folded, join, joined_norm, running_norm, shared_norm
from anybudget.spaces import UnifiedSettings
from anybudget.spaces.settings import LayerShape


class SubBlock(nn.Module):
    """One sub-block's weights: a slice of both pointwise convolutions, and a depthwise convolution per kernel size."""

    def __init__(self, shape: LayerShape, kernels: Sequence[int]) -> None:
        super().__init__()
        width = shape.in_channels
        self.expand = nn.Conv2d(width, width, 1, bias=False)
        self.expand_norm = nn.BatchNorm2d(width)
        self.depthwise = nn.ModuleList(DepthwiseConv2d(width, kernel, shape.stride) for kernel in kernels)
        self.depthwise_norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in kernels)
        self.project = nn.Conv2d(width, shape.out_channels, 1, bias=False)


class UnifiedBlock(nn.Module):
    """One layer of the unified supernet, built once at the maximal expansion.

    A path joins the weights of the sub-blocks that share a kernel size and computes one small inverted bottleneck per
    kernel size in use; their sum passes the shadow norm of the path's expansion rate. The weights of a sub-block are
    parameters of their own, so that joining them costs no gradient buffer of the full width, and weights outside the
    path get no gradient at all.

    Source: SGNAS §3.3, Eq. 11-12 (unified block), shadow batch norm and forced sampling.
    """

    def __init__(self, shape: LayerShape, macro: UnifiedSettings) -> None:
        super().__init__()
        self.stride = shape.stride
        self.kernels = macro.kernels
        self.min_expansion = macro.min_expansion
        self.residual = shape.keeps_shape
        self.sub_blocks = nn.ModuleList(SubBlock(shape, macro.kernels) for _ in range(macro.max_expansion))
        rates = macro.max_expansion - macro.min_expansion + 1 if macro.shadow_norms else 1
        self.shadow_norms = nn.ModuleList(nn.BatchNorm2d(shape.out_channels) for _ in range(rates))
        self.activation = macro.activation
        self.act = activation(macro.activation)

    def forward(self, x: Tensor, operations: Sequence[int]) -> Tensor:
        """`[N, C_in, H, W]` through the sub-blocks, each with its operation index; the last index means skip.

        Where all are skipped, the layer is the identity.
        """
        out: Tensor | None = None
        used = 0
        for index in range(len(self.kernels)):
            members = self.members(operations, index)
            if members:
                branch = self._branch(x, members, index)
                out = branch if out is None else out + branch
                used += len(members)
        if out is None:
            assert self.residual, "only layers that keep the shape of their input can be skipped"
            return x
        return shared_norm(out, [self.shadow_norm(used)], residual=x if self.residual else None)

    def members(self, operations: Sequence[int], index: int) -> list[SubBlock]:
        """The sub-blocks that use kernel `index`, in order."""
        return [
            cast(SubBlock, block)
            for block, operation in zip(self.sub_blocks, operations, strict=True)
            if operation == index
        ]

    def shadow_norm(self, expansion: int) -> nn.BatchNorm2d:
        """The norm after the second pointwise convolution at this expansion rate; a skipped layer has none."""
        return cast(nn.BatchNorm2d, self.shadow_norms[self.shadow_index(expansion)])

    def shadow_index(self, expansion: int) -> int:
        """Which of the shadow norms an expansion rate has; one serves all where shadow norms are switched off."""
        return expansion - self.min_expansion if len(self.shadow_norms) > 1 else 0

    def _branch(self, x: Tensor, members: Sequence[SubBlock], index: int) -> Tensor:
        weight = join([member.expand.weight for member in members])
        kernel = join([cast(nn.Conv2d, member.depthwise[index]).weight for member in members])
        norms = [member.expand_norm for member in members]
        whole = joined_norm(norms)
        hidden = None if whole is None else expand_depthwise(x, weight, whole, self.act, kernel, self.stride)
        if hidden is None:
            hidden = shared_norm(F.conv2d(x, weight), norms, self.act)
            hidden = depthwise_conv2d(hidden, kernel, None, self.stride)
        norms = [cast(nn.BatchNorm2d, member.depthwise_norms[index]) for member in members]
        hidden = shared_norm(hidden, norms, self.act)
        return F.conv2d(hidden, torch.cat([member.project.weight for member in members], dim=1))

    def read(self, encoding: Tensor) -> tuple[Tensor, Tensor]:
        """What every choice of the layer's decision means for this block.

        Args:
            encoding: `[choices, slots * operations]`, see `Decision.encoding`.

        Returns:
            Which kernel each sub-block uses, `[choices, sub-blocks, kernels]`, and which shadow norm the sum passes,
            `[choices, norms]`; both of 0 and 1, and only zeros where the layer is skipped.
        """
        usage = encoding.unflatten(1, (len(self.sub_blocks), -1))[..., :-1].contiguous()  # the last operation is skip
        rates = usage.new_zeros(len(usage), len(self.shadow_norms))
        for row, expansion in zip(rates, usage.sum((1, 2)).tolist(), strict=True):
            if expansion:
                row[self.shadow_index(int(expansion))] = 1.0
        return usage, rates

    def mixture(self, x: Tensor, probabilities: Tensor, encoding: Tensor) -> Tensor:
        """The mixture of all choices, computed with this block's own weights.

        In evaluation mode by the running statistics, and equal to `RelaxedUnifiedBlock` in that mode, which folds
        copies of the weights once for many forwards; here nothing is copied but the depthwise kernels, into the merged
        one. In training mode by the statistics of the batch: each depthwise convolution that has a share is run on its
        own, since its norm cannot be folded in before its output is there.

        Args:
            x: `[N, C_in, H, W]`.
            probabilities: of the layer's choices, `[choices]`.
            encoding: see `read`.
        """
        members = [cast(SubBlock, block) for block in self.sub_blocks]
        tables = self.read(encoding)
        skippable = is_skippable(tables[1])
        usage, rates = (table.to(members[0].expand.weight) for table in tables)
        probabilities = probabilities.to(usage.dtype)
        if self.training:
            with in_full(probabilities):
                weights, shares = mixing(probabilities, usage, rates, skippable=skippable)
            return self._trained_mixture(x, members, weights, shares)
        folds = [folded(cast(nn.BatchNorm2d, norm)) for norm in self.shadow_norms]
        with in_full(probabilities):
            weights, shares = mixing(probabilities, usage, rates, skippable=skippable)
            scale, shift = (weighted_sum(shares, values) for values in zip(*folds, strict=True))
        expanded = [
            self.act(running_norm(F.conv2d(x, member.expand.weight), [member.expand_norm])) for member in members
        ]
        hidden, (kernel, bias) = torch.cat(expanded, dim=1), self._merged(members, weights)
        hidden = self.act(depthwise_conv2d(hidden, kernel, bias, self.stride))
        parts = hidden.split(members[0].expand.out_channels, dim=1)
        out = reduce(torch.add, [F.conv2d(part, m.project.weight) for part, m in zip(parts, members, strict=True)])
        out = out * scale[:, None, None] + shift[:, None, None]
        return out + x if self.residual else out

    def _trained_mixture(self, x: Tensor, members: Sequence[SubBlock], weights: Tensor, shares: Tensor) -> Tensor:
        """The mixture by the batch: `weights` `[S, K]` of the kernels, `shares` `[norms]` of the shadow norms."""
        passed = taking_part(shares, len(shares), training=True)
        if not passed:  # the layer is skipped
            return x
        outputs = []
        for member, row in zip(members, weights, strict=True):
            taking = taking_part(row, len(row), training=True)
            if not taking:
                continue
            hidden = shared_norm(F.conv2d(x, member.expand.weight), [member.expand_norm], self.act)
            values = [self._normed_kernel(hidden, member, index) for index in taking]
            outputs.append(F.conv2d(self.act(weighted_sum(row[taking], values)), member.project.weight))
        out = reduce(torch.add, outputs)
        out = weighted_sum(
            shares[passed], [shared_norm(out, [cast(nn.BatchNorm2d, self.shadow_norms[index])]) for index in passed]
        )
        return out + x if self.residual else out

    def _normed_kernel(self, hidden: Tensor, member: SubBlock, index: int) -> Tensor:
        kernel = cast(nn.Conv2d, member.depthwise[index]).weight
        norm = cast(nn.BatchNorm2d, member.depthwise_norms[index])
        return shared_norm(depthwise_conv2d(hidden, kernel, None, self.stride), [norm])

    def _merged(self, members: Sequence[SubBlock], weights: Tensor) -> tuple[Tensor, Tensor]:
        """The kernel `[S * C, 1, k, k]` and bias `[S * C]` of one depthwise convolution, norms folded in.

        `weights` `[S, K]` is how much of each kernel a sub-block uses; smaller kernels are padded with zeros.
        """
        kernels, biases = [], []
        for member, row in zip(members, weights, strict=True):
            padded, shifts = [], []
            for conv, norm in zip(member.depthwise, member.depthwise_norms, strict=True):
                scale, shift = folded(cast(nn.BatchNorm2d, norm))
                weight = cast(nn.Conv2d, conv).weight * scale[:, None, None, None]
                padded.append(F.pad(weight, ((self.kernels[-1] - weight.shape[-1]) // 2,) * 4))
                shifts.append(shift)
            kernels.append(weighted_sum(row, padded))
            biases.append(weighted_sum(row, shifts))
        return torch.cat(kernels), torch.cat(biases)

    def copy_to(self, target: nn.Module, operations: Sequence[int]) -> None:
        """Copy the weights and statistics of one path into the plain block built for it; a skipped layer has none."""
        present = [members for index in range(len(self.kernels)) if (members := self.members(operations, index))]
        if not present:
            return
        target = cast(InvertedBottleneck, target)
        indices = [index for index in range(len(self.kernels)) if index in operations]
        for branch, members, index in zip(target.branches, present, indices, strict=True):
            assert isinstance(branch, KernelBranch)
            expand = cast(nn.Sequential, branch.expand)
            cast(nn.Conv2d, expand.conv).weight.copy_(join([member.expand.weight for member in members]))
            _copy_norms(cast(nn.BatchNorm2d, expand.norm), [member.expand_norm for member in members])
            branch.depthwise.conv.weight.copy_(
                join([cast(nn.Conv2d, member.depthwise[index]).weight for member in members])
            )
            _copy_norms(
                branch.depthwise.norm, [cast(nn.BatchNorm2d, member.depthwise_norms[index]) for member in members]
            )
            branch.project.weight.copy_(torch.cat([member.project.weight for member in members], dim=1))
        _copy_norms(target.norm, [self.shadow_norm(sum(map(len, present)))])


def is_skippable(rates: Tensor) -> bool:
    """Whether a choice has no shadow norm, by the table of `UnifiedBlock.read`: the one that skips the layer."""
    return not bool(rates.any(1).all())


def mixing(probabilities: Tensor, usage: Tensor, rates: Tensor, *, skippable: bool) -> tuple[Tensor, Tensor]:
    """The weights of a block's mixture.

    The shares of the shadow norms add up to the probability that the layer is used at all, so whatever the block adds
    to its input has that weight, and the input itself stays whole. Kernels are mixed given that the layer is used.
    Where it is certainly skipped they are mixed with all choices alike, so that the gradient still says what using the
    layer would change.

    Args:
        probabilities: of the layer's choices, `[choices]`; more columns, of wider decisions, are left out.
        usage: see `UnifiedBlock.read`.
        rates: see `UnifiedBlock.read`.
        skippable: whether one of the choices skips the layer.

    Returns:
        How much of each kernel every sub-block uses, `[sub-blocks, kernels]`, and how much of each shadow norm the sum
        passes, `[norms]`.
    """
    probabilities = probabilities[: len(usage)]
    weights, shares = torch.einsum("c,csk->sk", probabilities, usage), probabilities @ rates
    if not skippable:
        return weights, shares
    used = shares.sum()
    given = weights / used.clamp_min(torch.finfo(used.dtype).tiny)
    return torch.where(used > 0, given, usage.sum(0) / rates.sum()), shares


def _copy_norms(target: nn.BatchNorm2d, sources: Sequence[nn.BatchNorm2d]) -> None:
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(target, name).copy_(join([getattr(source, name) for source in sources]))
