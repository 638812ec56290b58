"""The frozen unified supernet that computes the mixture of all paths with one merged convolution per layer."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.nets.base import RelaxedSupernet
from anybudget.nets.merged import FrozenBottleneck, merged_bottleneck
from anybudget.nets.mixture import in_full
from anybudget.nets.norm_activation import Norm
from anybudget.nets.norms import OverBatch, by_batch, folded, keep_statistics
from anybudget.nets.unified_block import SubBlock, UnifiedBlock, is_skippable, mixing


class RelaxedUnifiedBlock(nn.Module):
    """The mixture of all configurations of one unified block.

    With the weights frozen and the norms folded in, the mixture of a sub-block's depthwise convolutions is one
    convolution with the sum of the zero-padded kernels, weighted by probability; a skipped share adds nothing. The
    shadow norm is mixed by the probability of each expansion rate. Where the layer can be skipped, kernels are mixed
    given that it is used, and what the block adds to its input is weighted by the probability of that (`mixing`). On
    one-hot probabilities this is the path itself.

    Mixing weights, the merged kernel and the mixed norm are computed in the precision of the weights also under
    autocast, which lowers that of the convolutions alone.

    Differs: SGNAS's code applies the activation to each operation before mixing; here the activation follows the
    mixture, which makes the merge exact.
    """

    over_batch: OverBatch | None = None  # what stands in for the norm over a batch, see `over_batch_with`
    expand: Tensor  # [S * C, C, 1, 1]
    expand_bias: Tensor  # [S * C]
    depthwise: Tensor  # [S, K, C, k, k]: every kernel of every sub-block, zero-padded to the largest size k
    depthwise_bias: Tensor  # [S, K, C]
    project: Tensor  # [C_out, S * C, 1, 1]
    shadow: Tensor  # [2, rates, C_out]: scale and shift with the running statistics folded in
    affine: Tensor  # [2, rates, C_out]: learned scale and shift alone
    usage: Tensor  # [choices, S, K]: which kernel each sub-block uses under each choice
    rates: Tensor  # [choices, rates]: the expansion rate of each choice; none for the one that skips the layer

    def __init__(self, block: UnifiedBlock, encoding: Tensor) -> None:
        super().__init__()
        self.stride = block.stride
        self.residual = block.residual
        self.kernels = block.kernels
        self.activation = block.activation
        members = [cast(SubBlock, member) for member in block.sub_blocks]
        scale, shift = _stacked_folds([member.expand_norm for member in members])
        weights = torch.stack([member.expand.weight.detach() for member in members])
        self.register_buffer("expand", (weights * scale[:, :, None, None, None]).flatten(0, 1))
        self.register_buffer("expand_bias", shift.flatten())
        kernels, biases = [], []
        for member in members:
            for conv, norm in zip(member.depthwise, member.depthwise_norms, strict=True):
                scale, shift = folded(cast(nn.BatchNorm2d, norm))
                weight = cast(nn.Conv2d, conv).weight.detach() * scale[:, None, None, None]
                margin = (block.kernels[-1] - weight.shape[-1]) // 2
                kernels.append(F.pad(weight, (margin,) * 4))
                biases.append(shift)
        sizes = (len(members), len(block.kernels))
        self.register_buffer("depthwise", torch.stack(kernels).unflatten(0, sizes).squeeze(3))
        self.register_buffer("depthwise_bias", torch.stack(biases).unflatten(0, sizes))
        self.register_buffer("project", torch.cat([member.project.weight.detach() for member in members], dim=1))
        norms = [cast(nn.BatchNorm2d, norm) for norm in block.shadow_norms]
        self.register_buffer("shadow", torch.stack(_stacked_folds(norms)))
        affine = [torch.stack([getattr(norm, name).detach() for norm in norms]) for name in ("weight", "bias")]
        self.register_buffer("affine", torch.stack(affine))
        usage, rates = block.read(encoding)
        self.skippable = is_skippable(rates)
        self.register_buffer("usage", usage.to(self.expand))
        self.register_buffer("rates", rates.to(self.expand))

    def forward(self, x: Tensor, probabilities: Tensor) -> Tensor:
        """`[N, C_in, H, W]` and the layer's probabilities `[choices]` to `[N, C_out, H / stride, W / stride]`."""
        norm = self.affine if self.training else self.shadow
        probabilities = probabilities.to(norm.dtype)
        with in_full(probabilities):
            weights, shares = mixing(probabilities, self.usage, self.rates, skippable=self.skippable)
            scale, shift = torch.einsum("r,arw->aw", shares, norm)
        frozen = FrozenBottleneck(
            self.expand,
            self.expand_bias,
            self.depthwise,
            self.depthwise_bias,
            self.kernels,
            self.stride,
            self.project,
            self.activation,
        )
        out = merged_bottleneck(x, weights, frozen)
        if self.training:
            if self.over_batch is not None:
                out = self.over_batch(out, scale, shift, 1e-5)[0]
                return out + x if self.residual else out
            return by_batch(out, Norm(scale, shift, 1e-5), x if self.residual else None)
        shift = shift[:, None, None]
        return torch.addcmul(x + shift if self.residual else shift, out, scale[:, None, None])


class RelaxedUnifiedSupernet(RelaxedSupernet):
    """A frozen copy of a unified supernet with its running statistics folded in.

    In evaluation mode, where it starts, the mixture is exact for the running statistics. These are averages over all
    paths, and a single path strays from them further with every layer. In training mode the shadow norms and the head
    normalise by the statistics of the batch instead, which brings each layer back to the scale it was trained at and
    makes the loss of a path a far better guess at its loss after recalibration; see `docs/generator.md` for figures.

    Args:
        before: what every path starts with.
        layers: a `UnifiedBlock` for every decision.
        after: what every path ends with.
        encodings: of every decision, `[choices, slots * operations]`, see `Decision.encoding`.
    """

    def __init__(
        self, before: nn.ModuleList, layers: Iterable[nn.Module], after: nn.ModuleList, encodings: Sequence[Tensor]
    ) -> None:
        super().__init__()
        self.before = copy.deepcopy(before).eval().requires_grad_(False)
        self.after = copy.deepcopy(after).eval().requires_grad_(False)
        self.layers = nn.ModuleList(
            RelaxedUnifiedBlock(cast(UnifiedBlock, layer), encoding)
            for layer, encoding in zip(layers, encodings, strict=True)
        )
        keep_statistics(self)
        self.eval()

    @property
    def stem(self) -> nn.Module:
        """See `RelaxedSupernet.stem`."""
        return self.before

    def forward(self, x: Tensor, probabilities: Tensor) -> Tensor:
        """See `RelaxedSupernet.forward`; gradients reach the probabilities and the images, never the weights."""
        for block in self.before:
            x = block(x)
        for layer, row in zip(self.layers, probabilities, strict=True):
            x = layer(x, row)
        for block in self.after:
            x = block(x)
        return x


def _stacked_folds(norms: list[nn.BatchNorm2d]) -> tuple[Tensor, Tensor]:
    scales, shifts = zip(*(folded(norm) for norm in norms), strict=True)
    return torch.stack(scales), torch.stack(shifts)
