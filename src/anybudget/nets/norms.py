"""Batch normalisation with shared weights: over channels of several norms, over some channels of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.nets.norm_activation import Norm, finished, over_batch

OverBatch = Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor, Tensor]]
"""Normalises `[N, C, H, W]` with weight, bias and epsilon; also gives the mean and the unbiased variance `[C]`."""


def join(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenate along the first dimension; a single tensor is passed on without a copy."""
    return tensors[0] if len(tensors) == 1 else torch.cat(tuple(tensors))


def _affine(norms: Sequence[nn.BatchNorm2d]) -> tuple[Tensor, Tensor]:
    return join([norm.weight for norm in norms]), join([norm.bias for norm in norms])


def batch_norm(
    x: Tensor, norms: Sequence[nn.BatchNorm2d], act: nn.Module | None = None, residual: Tensor | None = None
) -> Tensor:
    """`act(norm(x)) + residual` by the statistics of this batch; the running ones are left alone.

    `norms` are those of consecutive channel groups of `x` `[N, C, H, W]`; their widths add up to C.
    """
    weight, bias = _affine(norms)
    if isinstance(norms[0], _LentNorm):
        return finished(norms[0].over_batch(x, weight, bias, norms[0].eps)[0], act, residual)
    fused = over_batch(x, Norm(weight, bias, norms[0].eps), act, residual)
    return finished(_over_batch(x, weight, bias, norms[0].eps), act, residual) if fused is None else fused


def by_batch(x: Tensor, norm: Norm, residual: Tensor | None) -> Tensor:
    """`norm(x) + residual` by the statistics of this batch, for a norm that is mixed of others."""
    fused = over_batch(x, norm, None, residual)
    if fused is not None:
        return fused
    out = F.batch_norm(x, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)
    return finished(out, None, residual)


def joined_norm(norms: Sequence[nn.BatchNorm2d]) -> Norm | None:
    """Those of consecutive channel groups as one by the moments of the batch; None where they normalise otherwise."""
    first = norms[0]
    if isinstance(first, _LentNorm) or not first.training or first.track_running_stats:
        return None
    return Norm(*_affine(norms), first.eps)


def _over_batch(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """The norm alone, by PyTorch's operations."""
    if x.device.type == "cpu" and _is_narrow(len(weight)) and x.is_contiguous(memory_format=torch.channels_last):
        return cast(Tensor, _WideRowNorm.apply(x, weight, bias, eps))  # type: ignore[no-untyped-call]
    return F.batch_norm(x, None, None, weight, bias, training=True, eps=eps)


def _is_narrow(channels: int) -> bool:
    """Where rows of several pixels win, by `benchmarks/norms.py`: few channels that leave vectors part empty."""
    return channels < 64 and channels % (16 if channels < 32 else 8) != 0


class _WideRowNorm(torch.autograd.Function):
    """Batch norm of a channels-last tensor as operations on rows of several pixels.

    On the CPU torch normalises channels-last tensors pixel by pixel, with vector instructions over the channels; with
    12 channels most of each vector is idle. Rows of enough pixels to hold 512 numbers keep it full: `benchmarks/norms`
    has the ratios.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        """Normalise `[N, C, H, W]` by its own mean and variance."""
        rows, pixels = _rows(x)
        channels, count = len(weight), x.numel() // len(weight)
        mean = rows.mean(0).view(pixels, channels).mean(0)
        centred = rows - mean.repeat(pixels)
        variance = (centred * centred).sum(0).view(pixels, channels).sum(0) / count
        inverse = torch.rsqrt(variance + eps)
        ctx.save_for_backward(centred, weight, inverse)
        out = torch.empty_like(x)  # written through a view, so that an in-place activation may follow
        torch.addcmul(bias.repeat(pixels), centred, (weight * inverse).repeat(pixels), out=_rows(out)[0])
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Gradients of the input, weight and bias."""
        centred, weight, inverse = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        rows, pixels = _rows(gradient)
        channels, count = len(weight), gradient.numel() // len(weight)
        total = rows.sum(0).view(pixels, channels).sum(0)
        along = (rows * centred).sum(0).view(pixels, channels).sum(0)
        scale = weight * inverse
        offset = (-scale * total / count).repeat(pixels)
        slope = (-scale * inverse * inverse * along / count).repeat(pixels)
        out = torch.empty_like(gradient)
        torch.addcmul(offset, rows, scale.repeat(pixels), out=_rows(out)[0]).addcmul_(centred, slope)
        return out, along * inverse, total, None


def _rows(x: Tensor) -> tuple[Tensor, int]:
    """A channels-last tensor as `[rows, pixels * C]`, and how many pixels a row has."""
    channels, count = x.shape[1], x.numel() // x.shape[1]
    pixels = 1
    while pixels * channels < 512 and count % (2 * pixels) == 0:
        pixels *= 2
    return x.permute(0, 2, 3, 1).view(-1).view(-1, pixels * channels), pixels


def running_norm(x: Tensor, norms: Sequence[nn.BatchNorm2d]) -> Tensor:
    """Normalise by the running statistics."""
    weight, bias = _affine(norms)
    mean = join([_buffer(norm.running_mean) for norm in norms])
    variance = join([_buffer(norm.running_var) for norm in norms])
    return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=norms[0].eps)


def recording_norm(x: Tensor, norms: Sequence[nn.BatchNorm2d]) -> Tensor:
    """Normalise by this batch and count its statistics into each norm's cumulative average."""
    weight, bias = _affine(norms)
    mean, variance = x.new_zeros(len(weight)), x.new_ones(len(weight))
    out = F.batch_norm(x, mean, variance, weight, bias, training=True, momentum=1.0, eps=norms[0].eps)
    edges = torch.tensor([0, *(norm.num_features for norm in norms)]).cumsum(0).tolist()
    for norm, (start, stop) in zip(norms, pairwise(edges), strict=True):
        count = _buffer(norm.num_batches_tracked)
        count += 1
        for running, batch in ((norm.running_mean, mean), (norm.running_var, variance)):
            buffer = _buffer(running)
            buffer += (batch[start:stop] - buffer) / count
    return out


class SlicedNorm(nn.BatchNorm2d):
    """A batch norm at the greatest width, of which a forward uses some channels.

    A training forward leaves the running statistics alone unless `recording`, which averages each channel over the
    batches that passed it.
    """

    counts: Tensor  # [C]: batches recorded by channel
    over_batch: OverBatch | None = None  # what stands in for the norm over a batch, see `over_batch_with`

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.register_buffer("counts", torch.zeros(channels))
        self.track_running_stats = False

    def forward(self, x: Tensor, rows: slice = slice(None), act: nn.Module | None = None) -> Tensor:
        """Normalise `[N, rows, H, W]` with the parameters and statistics of these channels; then `act`."""
        weight, bias = self.weight[rows], self.bias[rows]
        if self.training and not self.track_running_stats and self.over_batch is None:
            fused = over_batch(x, Norm(weight, bias, self.eps), act)
            if fused is not None:
                return fused
        return finished(self._normalised(x, rows, weight, bias), act, None)

    def _normalised(self, x: Tensor, rows: slice, weight: Tensor, bias: Tensor) -> Tensor:
        mean, variance = _buffer(self.running_mean)[rows], _buffer(self.running_var)[rows]
        if not self.training:
            return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=self.eps)
        if not self.track_running_stats:
            if self.over_batch is not None:
                return self.over_batch(x, weight, bias, self.eps)[0]
            return F.batch_norm(x, None, None, weight, bias, training=True, eps=self.eps)
        batch = torch.zeros_like(mean), torch.ones_like(variance)
        out = F.batch_norm(x, *batch, weight, bias, training=True, momentum=1.0, eps=self.eps)
        counts = self.counts[rows]
        counts += 1
        mean += (batch[0] - mean) / counts
        variance += (batch[1] - variance) / counts
        return out

    def copy_to(self, target: nn.BatchNorm2d, rows: slice) -> None:
        """Copy these channels into a plain norm."""
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(target, name).copy_(getattr(self, name)[rows])


class _LentNorm(nn.BatchNorm2d):
    """A plain norm while something else normalises its batches; see `over_batch_with`."""

    over_batch: OverBatch

    def forward(self, x: Tensor) -> Tensor:
        """As the plain norm would; only what a batch is may differ."""
        if not self.training:
            return super().forward(x)
        out, mean, variance = self.over_batch(x, self.weight, self.bias, self.eps)
        if self.track_running_stats:
            count = _buffer(self.num_batches_tracked)
            count += 1
            share = 1.0 / float(count) if self.momentum is None else self.momentum
            _buffer(self.running_mean).lerp_(mean, share)
            _buffer(self.running_var).lerp_(variance, share)
        return out


@contextmanager
def over_batch_with(module: nn.Module, function: OverBatch) -> Iterator[None]:
    """Within, training forwards of all norms in `module` have their batches normalised by `function`.

    Recording and calibrating statistics of shared norms is left as it is.
    """
    plain = [layer for layer in module.modules() if type(layer) is nn.BatchNorm2d]
    for norm in plain:
        norm.__class__ = _LentNorm
    # Those that say by this attribute that their batches can be normalised by something else.
    lenient: list[Any] = [layer for layer in module.modules() if hasattr(type(layer), "over_batch")]
    for layer in [*plain, *lenient]:
        layer.over_batch = function
    try:
        yield
    finally:
        for layer in [*plain, *lenient]:
            del layer.over_batch
        for norm in plain:
            norm.__class__ = nn.BatchNorm2d


def folded(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The norm with running statistics as `x * scale + shift`, each `[C]`, detached."""
    scale = norm.weight.detach() / (_buffer(norm.running_var) + norm.eps).sqrt()
    return scale, norm.bias.detach() - _buffer(norm.running_mean) * scale


def shared_norm(
    x: Tensor, norms: Sequence[nn.BatchNorm2d], act: nn.Module | None = None, residual: Tensor | None = None
) -> Tensor:
    """`act(norm(x)) + residual`, normalised as the mode of the norms says.

    By running statistics, by the batch, or by the batch and `recording`.
    """
    if norms[0].training and not norms[0].track_running_stats:
        return batch_norm(x, norms, act, residual)
    return finished((recording_norm if norms[0].training else running_norm)(x, norms), act, residual)


def reset_statistics(module: nn.Module) -> None:
    """Forget the running statistics of every norm, so that `recording` starts a new average."""
    for layer in _norms(module):
        # torch's own reset does nothing while `track_running_stats` is off, as it is in shared norms.
        _buffer(layer.running_mean).zero_()
        _buffer(layer.running_var).fill_(1.0)
        _buffer(layer.num_batches_tracked).zero_()
        if isinstance(layer, SlicedNorm):
            layer.counts.zero_()


def keep_statistics(module: nn.Module) -> None:
    """Make a training forward normalise by the batch and leave the running statistics alone, in every norm.

    What norms of shared weights need: paths differ, so an average over whatever came last is the statistics of none.
    The buffers stay, and evaluation mode uses them.
    """
    for layer in _norms(module):
        layer.track_running_stats = False


@contextmanager
def recording(module: nn.Module) -> Iterator[None]:
    """Within, a training forward counts the batch into the running statistics of the norms it passes.

    These are averages over all batches since `reset_statistics`, each with equal weight: give batches of equal size.
    Afterwards, and after an error, every norm follows its batches as it did before.
    """
    before = [(layer, layer.track_running_stats, layer.momentum) for layer in _norms(module)]
    for layer, _, _ in before:
        layer.track_running_stats, layer.momentum = True, None
    try:
        yield
    finally:
        for layer, tracked, momentum in before:
            layer.track_running_stats, layer.momentum = tracked, momentum


@contextmanager
def calibrating(module: nn.Module) -> Iterator[None]:
    """Within, a forward of a module in evaluation mode gathers the norms' statistics anew; nothing else trains.

    Afterwards the norms are as they were but for the statistics, so that the module can be trained on like any other.
    After an error they have their old statistics, too.
    """
    before = [(layer, layer.training) for layer in _norms(module)]
    kept = _copies(layer for layer, _ in before)
    reset_statistics(module)
    try:
        with recording(module):
            for layer, _ in before:
                layer.train()
            yield
    except BaseException:
        restore(kept)
        raise
    finally:
        for layer, training in before:
            layer.train(training)


def statistics(module: nn.Module) -> list[tuple[nn.Module, dict[str, Tensor]]]:
    """Copies of the running statistics of those norms that have counted a batch; `restore` puts them back."""
    return _copies(layer for layer in _norms(module) if _counted(layer))


def restore(kept: Sequence[tuple[nn.Module, dict[str, Tensor]]]) -> None:
    """Put statistics back where they were copied from."""
    for layer, buffers in kept:
        for name, buffer in layer.named_buffers():
            buffer.copy_(buffers[name])


def _norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]


def _copies(norms: Iterable[nn.BatchNorm2d]) -> list[tuple[nn.Module, dict[str, Tensor]]]:
    return [(norm, {name: buffer.clone() for name, buffer in norm.named_buffers()}) for norm in norms]


def _counted(norm: nn.BatchNorm2d) -> bool:
    counts = norm.counts if isinstance(norm, SlicedNorm) else _buffer(norm.num_batches_tracked)
    return bool(counts.any())


def _buffer(buffer: Tensor | None) -> Tensor:
    assert buffer is not None, "norms of a supernet track running statistics"
    return buffer
