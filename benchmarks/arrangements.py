"""Does it pay to train every arrangement of a multiset of kernels, when only the canonical one is ever scored?

Trains the fashion recipe's supernet with `fair` (every arrangement) and `fair-canonical` (the sorted one only) and
compares, over random architectures and several seeds: supernet top-1 of the canonical arrangement; that of a shuffled
arrangement, which is the same function with other weights; and Kendall's tau between the two orders.
Run: python benchmarks/arrangements.py [--seeds 3]
"""

from __future__ import annotations

import argparse
import copy
from typing import cast

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import kendalltau

from anybudget.cli.terminal import RichProgress
from anybudget.evaluation.evaluator import Evaluator
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.nets import UnifiedSupernet
from anybudget.nets.unified_block import UnifiedBlock
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from fashion import ROOT, spread

ARCHITECTURES = 60


def shuffled(supernet: UnifiedSupernet, rng: np.random.Generator) -> UnifiedSupernet:
    """A copy whose sub-blocks trade places: its canonical arrangement uses other weights for the same network.

    A permutation of the first sub-blocks only, as many as the least expansion, keeps every rate's sub-blocks in use.
    """
    copied = copy.deepcopy(supernet)
    for module in copied.layers:
        layer = cast(UnifiedBlock, module)
        blocks = list(layer.sub_blocks)
        first = layer.min_expansion
        order = [*rng.permutation(first), *range(first, len(blocks))]
        layer.sub_blocks = type(layer.sub_blocks)(blocks[index] for index in order)
    return copied


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    table = Table("sampler", "canonical top-1", "standard deviation", "rearranged top-1", "Kendall tau of the two")
    for sampler in ("fair", "fair-canonical"):
        columns: list[list[float]] = [[], [], [], []]
        for seed in range(arguments.seeds):
            # `fair` is the recipe's sampler, so its runs are those of benchmarks/fashion.py.
            name = f"bench-fashion-{seed}" if sampler == "fair" else f"bench-{sampler}-{seed}"
            recipe = load_recipe(ROOT / "recipes" / "fashion.toml", [f"seed={seed}", f"supernet.sampler={sampler}"])
            run = Run.create(recipe, ROOT / "runs" / name, RichProgress())
            if not run.folder.finished("supernet"):
                run.train_supernet()
            assert isinstance(run.supernet, UnifiedSupernet)
            rng = np.random.default_rng(seed)
            other = Evaluator(shuffled(run.supernet, rng), run.data, EvaluatorSettings(seed=seed))
            architectures = [run.space.sample(rng) for _ in range(ARCHITECTURES)]
            canonical = [run.evaluator.score(architecture) for architecture in architectures]
            rearranged = [other.score(architecture) for architecture in architectures]
            values = (
                np.mean([score.top1_percent for score in canonical]),
                np.std([score.top1_percent for score in canonical]),
                np.mean([score.top1_percent for score in rearranged]),
                kendalltau([s.loss for s in canonical], [s.loss for s in rearranged]).statistic,
            )
            for column, value in zip(columns, values, strict=True):
                column.append(float(value))
        table.add_row(sampler, *(spread(np.array(column)) for column in columns))
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
