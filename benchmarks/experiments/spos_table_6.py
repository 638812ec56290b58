"""Bits of weights and activations searched under BitOps, beside the same bits in all blocks.

A small ResNet of six blocks (`recipes/demo-bits.toml`) on garments among patches of others; as in the paper a block has
weights and activations of (1, 2), (2, 2), (1, 4), (2, 4), (3, 4) or (4, 4) bits. The limits are the BitOps of networks
that have 2, 3 and 4 bits in all blocks. Evolution scores 160 networks with a uniform supernet and uses nine tenths of a
limit or more; all networks are trained alone, quantised from the first step, once and from scratch. The paper
has ResNet-18 and -34 on ImageNet. Its row of DNAS is left out: that method is not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anybudget.architecture import Architecture
from experiments.base import Experiment, Outcome, Presented, ResultTable, spread
from experiments.spos_runs import BITS, gains, network, opened, row, searched, trained

FIXED = (2, 3, 4)


def measure(seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    pairs = [[bits, bits] for bits in FIXED]
    fixed = opened("bits-fixed", seed, folder, quick, [f"space.bits={pairs}"], BITS)
    run = trained("bits", seed, folder, quick, path=BITS)
    rows = {}
    for index, bits in enumerate(FIXED):
        same = Architecture(fixed.space.name, (index,) * len(fixed.space.decisions))
        budget = f"bitops<={fixed.costs['bitops'].cost(same):.0f}"
        rows[f"{bits}W{bits}A"] = row(fixed, [same], scored=False, cost="bitops")
        rows[f"searched, BitOps of {bits}W{bits}A"] = row(
            run, [network(searched(run, "evolution", budget))], cost="bitops"
        )
    return rows


def present(outcomes: Sequence[Outcome]) -> Presented:
    rows = []
    for name, fixed in zip(outcomes[0], ["", *outcomes[0]], strict=False):
        found = [outcome[name] for outcome in outcomes]
        cost = f"{np.mean([one['cost'] for one in found]) / 1e6:.2f} M"
        scores = spread([one["supernet"][0] for one in found]) if found[0]["supernet"] else ""
        gained = gains(outcomes, name, fixed) if name.startswith("searched") else ""
        rows.append([name, cost, scores, spread([one["trained"][0] for one in found]), gained])
    columns = ["bits", "BitOps", "supernet top-1, %", "trained top-1, %", "better than the same bits by, points"]
    return Presented([ResultTable("Top-1 under the BitOps of fixed bits", columns, rows)])


EXPERIMENT = Experiment(
    name="spos-table-6",
    title="SPOS, Table 6: bits searched under BitOps",
    measure=measure,
    present=present,
)
