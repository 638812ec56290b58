"""SGNAS-A, B and C beside other published networks: published figures, and what is counted here.

Nothing is trained: top-1 on ImageNet is quoted. Multiply-adds and parameters are counted exactly on the networks of
`anybudget.zoo`, blocks and architectures as the authors published them. The rows below the first three are the other
networks of the zoo; which of them the paper's own table has is not said here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anybudget.zoo import ZOO
from experiments.base import Experiment, Outcome, Presented, ResultTable

KEYS = (
    *("title", "top1_percent_published", "macs_published", "macs_counting", "macs", "conv_macs", "macs_agree"),
    *("params_published", "params", "params_agree", "source"),
)


def measure(seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    del seed, folder, quick
    found = [network.to_dict() for network in ZOO.values()]
    ordered = sorted(found, key=lambda facts: not facts["name"].startswith("sgnas"))
    return {"networks": [{key: facts[key] for key in KEYS} for facts in ordered]}


def present(outcomes: Sequence[Outcome]) -> Presented:
    rows = []
    for facts in outcomes[0]["networks"]:
        counted = [facts[facts["macs_counting"]], facts["params"]]
        agree = [facts["macs_agree"], facts["params_agree"]]
        macs, params = (
            f"{value / 1e6:.2f}M{'' if rounds else ' *'}" for value, rounds in zip(counted, agree, strict=True)
        )
        published = [facts["macs_published"], macs, facts["params_published"], params]
        rows.append([facts["title"], *published, f"{facts['top1_percent_published']}%", facts["source"]])
    columns = ["network", "multiply-adds published", "counted", "parameters published", "counted", "top-1 published"]
    title = "Published and counted; * does not round to the published figure (docs/zoo.md says why)"
    return Presented([ResultTable(title, [*columns, "source"], rows)])


EXPERIMENT = Experiment(
    name="sgnas-table-2",
    title="SGNAS, Table 2: SGNAS-A, B and C beside other networks",
    measure=measure,
    present=present,
    seeds=1,
)
