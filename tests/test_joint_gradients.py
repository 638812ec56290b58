"""Joint training: gradients of trained mixtures and drawn paths by definition, and what has none."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from anybudget.architecture import Architecture
from anybudget.data import DataSplits
from anybudget.generator.free_distribution import FreeDistribution
from anybudget.generator.joint import DRAWS, Method, train_jointly
from anybudget.generator.joint_settings import GumbelSettings
from anybudget.generator.network import gumbel_softmax
from anybudget.nets import ChoiceBlockSupernet, UnifiedSupernet, build_supernet
from anybudget.nets.choice import SeparateOperations
from anybudget.nets.unified_block import SubBlock, UnifiedBlock
from anybudget.search import STRATEGIES
from anybudget.search.joint import JointStrategy
from anybudget.spaces import NASBench201Space, SearchSpace, UnifiedSpace, stages
from conftest import TRAIN
from small_spaces import TINY_CELLS
from tiny_spaces import small_mbconv, tiny_macro


def separate(net: ChoiceBlockSupernet) -> list[list[torch.nn.Module]]:
    return [list(cast(SeparateOperations, layer).operations) for layer in net.layers]


def test_a_trained_mixture_has_the_gradients_of_the_weighted_sum() -> None:
    torch.manual_seed(0)
    net = cast(ChoiceBlockSupernet, build_supernet(small_mbconv()).double().train())
    x = torch.randn(6, 1, 8, 8, dtype=torch.float64)
    rows = torch.randn(4, 3, dtype=torch.float64).softmax(-1)
    ours, theirs = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    net(x, ours).square().sum().backward()
    found = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    net.zero_grad()
    value = x
    for block in net.before:
        value = block(value)
    for operations, row in zip(separate(net), theirs, strict=True):
        value = torch.stack([share * operation(value) for share, operation in zip(row, operations, strict=True)]).sum(0)
    for block in net.after:
        value = block(value)
    value.square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad)


def test_a_trained_mixture_of_a_unified_block_by_definition() -> None:
    """Each depthwise convolution with a norm of its own, mixed, activated; then the shadow norms, mixed."""
    torch.manual_seed(0)
    space = UnifiedSpace(tiny_macro(stages=stages((4, 1, 1)), max_expansion=3))
    net = cast(UnifiedSupernet, build_supernet(space).double().train())
    block, decision = cast(UnifiedBlock, net.layers[0]), space.decisions[0]
    x = torch.randn(6, 4, 8, 8, dtype=torch.float64)
    row = torch.randn(len(decision.choices), dtype=torch.float64).softmax(0)
    ours, theirs = row.clone().requires_grad_(), row.clone().requires_grad_()
    encoding = torch.from_numpy(decision.encoding())
    found = block.mixture(x, ours, encoding)
    usage, rates = (table.double() for table in block.read(encoding))
    weights, shares = torch.einsum("c,csk->sk", theirs, usage), theirs @ rates

    def norm(value: Tensor, layer: torch.nn.Module) -> Tensor:
        return F.batch_norm(value, None, None, layer.weight, layer.bias, training=True)

    out = x.new_zeros(())
    for member, own in zip(block.sub_blocks, weights, strict=True):
        assert isinstance(member, SubBlock)
        hidden = block.act(norm(F.conv2d(x, member.expand.weight), member.expand_norm))
        terms = [
            share * norm(F.conv2d(hidden, conv.weight, padding=kernel // 2, groups=hidden.shape[1]), layer)
            for share, conv, layer, kernel in zip(
                own, member.depthwise, member.depthwise_norms, block.kernels, strict=True
            )
        ]
        out = out + F.conv2d(block.act(torch.stack(terms).sum(0)), member.project.weight)
    wanted = x + torch.stack([s * norm(out, layer) for s, layer in zip(shares, block.shadow_norms, strict=True)]).sum(0)
    torch.testing.assert_close(found, wanted)
    gradients = [
        torch.autograd.grad(value.square().sum(), [given, *block.parameters()])
        for value, given in ((found, ours), (wanted, theirs))
    ]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_a_drawn_path_has_the_straight_through_gradient() -> None:
    """A block's output is multiplied by its own value, `hard + p - p.detach()`, and by no other's."""
    torch.manual_seed(0)
    net = cast(ChoiceBlockSupernet, build_supernet(small_mbconv(2)).double().train())
    x = torch.randn(6, 1, 8, 8, dtype=torch.float64)
    logits = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    draws = torch.Generator().manual_seed(1)
    path = DRAWS["gumbel-path"](logits.log_softmax(-1), 2.0, draws)
    net(x, path).square().sum().backward()
    trained = {name for name, p in net.named_parameters() if p.grad is not None}
    other = logits.detach().clone().requires_grad_()
    soft = gumbel_softmax(other.log_softmax(-1), 2.0, hard=False, generator=torch.Generator().manual_seed(1))
    chosen, value = soft.argmax(-1).tolist(), x
    for block in net.before:
        value = block(value)
    for operations, row, choice in zip(separate(net), soft, chosen, strict=True):
        value = (1 + row[choice] - row[choice].detach()) * operations[choice](value)
    for block in net.after:
        value = block(value)
    value.square().sum().backward()
    torch.testing.assert_close(logits.grad, other.grad)
    net.zero_grad(set_to_none=True)
    net(x, net.space.path_encoding(Architecture(net.space.name, tuple(chosen)))).sum().backward()
    assert trained == {name for name, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ["gdas", "setn"])
def test_weights_off_the_path_stay_as_they_are(name: str, data: DataSplits) -> None:
    """Neither weight decay nor momentum moves them: they have no gradient at all."""
    torch.manual_seed(0)
    net = cast(ChoiceBlockSupernet, build_supernet(small_mbconv()))
    before = {key: value.clone() for key, value in net.named_parameters()}
    kind = cast(type[JointStrategy], STRATEGIES[name])
    settings = kind.settings_type(epochs=1, batch_size=TRAIN // 2)  # one step
    method = Method(name, kind.for_weights, kind.for_architecture, settings)
    train_jointly(net, FreeDistribution(net.space), data, method)
    moved = [
        [
            any(
                not torch.equal(p, before[f"layers.{layer}.operations.{index}.{key}"])
                for key, p in op.named_parameters()
            )
        ]
        for layer, operations in enumerate(separate(net))
        for index, op in enumerate(operations)
        if list(op.parameters())
    ]
    assert 0 < sum(map(sum, moved)) <= 4 < len(moved)


@pytest.mark.parametrize(
    ("space", "nothing"),
    [
        (NASBench201Space(TINY_CELLS), "none"),
        (UnifiedSpace(tiny_macro(stages=stages((4, 2, 1)), skip_layers=True)), "skip"),
    ],
    ids=["no connections", "all layers skipped"],
)
def test_a_path_on_which_nothing_was_chosen_moves_no_distribution(
    space: SearchSpace, nothing: str, data: DataSplits
) -> None:
    torch.manual_seed(0)
    net, model = build_supernet(space), FreeDistribution(space)
    with torch.no_grad():
        for row, decision in zip(model.logits, space.decisions, strict=True):
            for index, operations in enumerate(decision.choices):
                if {decision.operations[operation] for operation in operations} == {nothing}:
                    row[index] = 1000.0
    before = model.logits.detach().clone()
    settings = GumbelSettings(epochs=1, batch_size=12, architecture_weight_decay=0.0)
    train_jointly(net, model, data, Method("gdas", "gumbel-path", "gumbel-path", settings))
    assert before.max() == 1000
    assert torch.equal(model.logits, before)
