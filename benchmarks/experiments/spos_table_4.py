"""Channels searched with the blocks fixed, and together with them, beside networks of one width.

As in Table 3: a small copy of the space (`recipes/demo-shufflenet.toml`), one limit of multiply-adds for all. Channels
are those inside every block, 0.2 to 1.6 times (`channels = "inside"`), as the authors released it; a row more is of
output channels, 0.2 to 2 times. The fixed block is 3x3. The baseline has it everywhere, with stages as wide, in
proportion, as the limit allows; the last but one row is Table 3's search. Each search scores 160 networks with a
uniform supernet of its own space; all networks are trained alone, once and from scratch; there is one random network
for each seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.base import Experiment, Outcome, Presented, ResultTable
from experiments.spos_runs import BUDGET, alone, drawn, figures, gains, network, row, searched, trained

OUTPUTS = ["space.name='shufflenet-channels'", "space.blocks=['3x3']"]
CHANNELS = [*OUTPUTS, "space.channels='inside'"]
BOTH = ["space.name='shufflenet-channels'", "space.channels='inside'"]
BASELINE = "3x3 everywhere, one width"


def measure(seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    channels, both = trained("channels", seed, folder, quick, CHANNELS), trained("both", seed, folder, quick, BOTH)
    outputs, blocks = trained("outputs", seed, folder, quick, OUTPUTS), trained("blocks", seed, folder, quick)
    return {
        BASELINE: alone("3x3", seed, folder, quick),
        "3x3, random channels": row(channels, drawn(channels, BUDGET)),
        "3x3, channels searched": row(channels, [network(searched(channels, "evolution", BUDGET))]),
        "3x3, output channels searched": row(outputs, [network(searched(outputs, "evolution", BUDGET))]),
        "random blocks and channels": row(both, drawn(both, BUDGET)),
        "blocks searched": row(blocks, [network(searched(blocks, "evolution", BUDGET))]),
        "blocks and channels searched": row(both, [network(searched(both, "evolution", BUDGET))]),
    }


def present(outcomes: Sequence[Outcome]) -> Presented:
    rows = [[name, *figures(outcomes, name), gains(outcomes, name, BASELINE)] for name in outcomes[0]]
    rows[0][-1] = ""
    columns = ["network", "multiply-adds", "supernet top-1, %", "trained top-1, %", "better than the first by, points"]
    return Presented([ResultTable("Top-1 under one limit", columns, rows)])


EXPERIMENT = Experiment(
    name="spos-table-4",
    title="SPOS, Table 4: channels searched, alone and with blocks",
    measure=measure,
    present=present,
)
