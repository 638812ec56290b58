"""How batches are cut: equal shares and parts, or an early refusal."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from anybudget.errors import ConfigError
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.runtime.batch_parts import batch_problem
from anybudget.runtime.distributed import Processes
from anybudget.training.sgd import train_on


@given(share=st.integers(1, 40), processes=st.integers(1, 5), accumulate=st.integers(1, 20), extra=st.integers(0, 4))
def test_a_batch_that_passes_is_cut_into_parts_of_two_or_more(
    share: int, processes: int, accumulate: int, extra: int
) -> None:
    size = share * processes + extra % processes
    images, labels = torch.randn(size, 1), torch.zeros(size, dtype=torch.int64)
    everyone = [Processes() for _ in range(processes)]
    seen: list[list[int]] = []
    for rank, process in enumerate(everyone):
        process.rank, process.count = rank, processes
        parts: list[int] = []
        layer = nn.Linear(1, 2)

        def forward(part: Tensor, layer: nn.Linear = layer, parts: list[int] = parts) -> Tensor:
            parts.append(len(part))
            return layer(part)

        mine = process.share(images), process.share(labels)
        if len(mine[0]) >= accumulate:
            train_on(*mine, forward, process, accumulate)
            seen.append(parts)
    if batch_problem(size, processes, accumulate) is None:
        assert len(seen) == processes
        assert {sum(parts) for parts in seen} == {size // processes}
        assert all(len(parts) == accumulate and min(parts) >= 2 for parts in seen)
        assert max(map(max, seen)) - min(map(min, seen)) <= 1
    elif len(seen) == processes and size % processes == 0:
        assert min(map(min, seen)) < 2


def test_parts_add_up_to_the_gradient_of_the_batch() -> None:
    """Ten images in four parts: 3, 3, 2, 2, where cutting by size would leave a part of one."""
    torch.manual_seed(0)
    images, labels = torch.randn(10, 4), torch.arange(10) % 3
    layer = nn.Linear(4, 3)
    gradients = []
    for accumulate in (1, 4):
        layer.zero_grad()
        result = train_on(images, labels, layer, Processes(), accumulate)
        assert layer.weight.grad is not None
        gradients.append((layer.weight.grad.clone(), torch.tensor(result.loss)))
    torch.testing.assert_close(gradients[0], gradients[1])


def test_ten_images_in_four_parts_train_a_network_with_norms(recipe_file: Path, tmp_path: Path) -> None:
    settings = [
        "supernet.batch_size=10",
        "supernet.accumulate=4",
        "supernet.epochs=1",
        "space.stages=[{width=4,repeats=3,stride=2}]",
    ]
    run = Run.create(load_recipe(recipe_file, settings), tmp_path / "run")
    run.train_supernet()
    trained = load_file(tmp_path / "run" / "supernet.safetensors")
    assert all(bool(tensor.isfinite().all()) for tensor in trained.values())


def test_a_part_of_one_image_is_refused_before_any_training(recipe_file: Path, tmp_path: Path) -> None:
    """The recipe alone looks right; the data have fewer images than a batch."""
    run = Run.create(load_recipe(recipe_file, ["retrain.batch_size=128", "retrain.accumulate=64"]), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"retrain.batch_size 84, in 64 parts .*at most 42; there are only 84 images"):
        run.train_supernet()
    assert not (tmp_path / "run" / "supernet.csv").exists()
