"""Memory and time of a step of the generator's training: the unified supernet against separate blocks.

Both supernets have the paper's macro-architecture: 19 layers, images of 224 pixels, 1,000 classes. The separate one
has a block of its own for each of 6 operations a layer (kernels 3, 5, 7 with expansion 3 or 6), 6^19 networks, all of
which a mixture runs; the unified one has 80 configurations a layer in one block, 80^19 networks, which a mixture runs
as one merged depthwise convolution. The third row is the same unified supernet with every operation of every
sub-block run separately. A step is that of the generator's training: a forward and backward of one mixture with
frozen weights, 4 images, one thread of a processor, supernets with random weights.

Memory is the most that tensors take at once beyond what is there before the step (weights are there); time is
processor time, the least of three steps taken in turn in one process. Differs from the paper: one thread and four
images, no GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from anybudget.generator.network import ArchitectureGenerator, gumbel_softmax
from anybudget.generator.training import MixtureLoss
from anybudget.nets import Supernet, build_supernet
from anybudget.nets.blocks import channels_last
from anybudget.recipe import load_recipe
from anybudget.spaces import SPACES, UnifiedSettings
from anybudget.testing import explicit_mixture
from experiments.base import ROOT, Experiment, Outcome, Presented, ResultTable, spread
from measure import cpu_seconds, peak_bytes

OPERATIONS = ("k3_e3", "k3_e6", "k5_e3", "k5_e6", "k7_e3", "k7_e6")
BATCH = 4
UNIFIED, SEPARATE, EVERY = "unified supernet, merged", "separate blocks", "unified supernet, every operation run"


def measure(seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    del folder
    torch.manual_seed(seed)
    unified, separate = supernets(32 if quick else 224)
    images = torch.randn(2 if quick else BATCH, *unified.space.input_shape).contiguous(
        memory_format=torch.channels_last
    )
    labels = torch.randint(unified.space.classes, (len(images),))
    frozen = unified.eval().requires_grad_(False)

    def every(images: Tensor, labels: Tensor, probabilities: Tensor) -> Tensor:
        return F.cross_entropy(explicit_mixture(frozen, images, probabilities, batch_statistics=True), labels)

    works = {
        UNIFIED: step(unified, MixtureLoss(unified), images, labels),
        SEPARATE: step(separate, MixtureLoss(separate), images, labels),
        EVERY: step(unified, every, images, labels),
    }
    seconds = cpu_seconds(works, rounds=1 if quick else 3, warmup=1)
    nets = {UNIFIED: unified, SEPARATE: separate, EVERY: unified}
    return {
        name: {
            "processor_seconds": seconds[name],
            "peak_bytes": peak_bytes(work),
            "parameters": sum(parameter.numel() for parameter in nets[name].parameters()),
        }
        for name, work in works.items()
    }


def supernets(pixels: int) -> tuple[Supernet, Supernet]:
    """The unified supernet of the paper's recipe, and separate blocks in the same macro-architecture."""
    settings = load_recipe(ROOT / "recipes" / "sgnas-imagenet.toml", [f"space.input_size={pixels}"]).space
    assert isinstance(settings, UnifiedSettings)
    macro = settings.model_dump(include={*SPACES["mbconv"].settings_type.model_fields} - {"operations"})
    of_blocks = SPACES["mbconv"].settings_type.model_validate({**macro, "operations": OPERATIONS})
    unified, separate = SPACES["unified"](settings), SPACES["mbconv"](of_blocks)
    return channels_last(build_supernet(unified)), channels_last(build_supernet(separate))


def step(
    supernet: Supernet, loss: Callable[[Tensor, Tensor, Tensor], Tensor], images: Tensor, labels: Tensor
) -> Callable[[], None]:
    """A forward and backward of one relaxed architecture that a generator gives, down to the generator's weights."""
    generator = ArchitectureGenerator([decision.encoding() for decision in supernet.space.decisions])
    noise, position = torch.Generator().manual_seed(0), torch.tensor([0.5])
    prior = generator.prior(torch.zeros(1, len(supernet.space.decisions), dtype=torch.long))

    def run() -> None:
        generator.zero_grad(set_to_none=True)
        sample = gumbel_softmax(generator(position, prior), 5.0, hard=False, generator=noise)[0]
        loss(images, labels, sample).backward()

    return run


def present(outcomes: Sequence[Outcome]) -> Presented:
    rows = []
    for name, networks in ((UNIFIED, "80^19"), (SEPARATE, "6^19"), (EVERY, "80^19")):
        found = [(outcome[name], outcome[UNIFIED]) for outcome in outcomes]
        ratio = partial(over, found)
        rows.append(
            [
                name,
                networks,
                f"{found[0][0]['parameters'] / 1e6:.1f} M",
                f"{found[0][0]['peak_bytes'] / 2**20:,.0f} MiB",
                ratio("peak_bytes"),
                spread([row["processor_seconds"] for row, _ in found]),
                ratio("processor_seconds"),
            ]
        )
    columns = ["supernet", "networks", "parameters", "peak memory", "over unified", "processor seconds", "over unified"]
    title = f"A step of the generator's training on {BATCH} images; mean ± standard error, {len(outcomes)} seeds"
    return Presented([ResultTable(title, columns, rows)])


def over(found: Sequence[tuple[Any, Any]], key: str) -> str:
    """A figure over that of the unified supernet."""
    return spread([row[key] / base[key] for row, base in found])


EXPERIMENT = Experiment(
    name="sgnas-table-5",
    title="SGNAS, Table 5: memory and time of the generator's training",
    measure=measure,
    present=present,
)
