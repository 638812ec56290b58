"""Found architectures, drawn: SGNAS-A, B and C as published, and what a generator gives for three budgets.

A column is a layer, a cell a sub-block with its kernel size, so the height of a column is the expansion rate. The
first picture is of the authors' networks in `anybudget.zoo`; the second of the most probable networks of the
generator of the first seed (`recipes/demo-unified.toml`) for 25, 50 and 75% of the multiply-adds that the space
reaches. The drawings are not compared with the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from anybudget.report import blocks, svg
from anybudget.storage.records import Layers
from anybudget.zoo import ZOO
from experiments.base import Experiment, Outcome, Presented, ResultTable
from experiments.sgnas_unified import asked, trained

BUDGETS = ("macs<=25%", "macs<=50%", "macs<=75%")
FILLS = ("#fde0c5", "#eb7f86", "#8c4a80")
STYLE = """
svg { font-family: sans-serif; } text { fill: #333; font-size: 12px; } .title { font-size: 13px; font-weight: 600; }
.skipped rect { fill: none; stroke: #999; stroke-dasharray: 3 2.5; } .cell text { font-weight: 600; }
.op-2 text { fill: #fff; }
""" + " ".join(f".op-{number} rect {{ fill: {fill}; }}" for number, fill in enumerate(FILLS))


def measure(seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    published = [ZOO[f"sgnas-{letter}"].to_dict() for letter in "abc"]
    run = trained(seed, folder, quick)
    return {
        "published": [{"title": facts["title"], "layers": facts["layers"]} for facts in published],
        "found": [
            {
                "title": f"{text}: {found.costs['macs'] / 1e3:,.0f}k multiply-adds",
                "layers": run.space.describe(found.architecture),
            }
            for text, found in zip(BUDGETS, run.propose(asked(run, *BUDGETS)), strict=True)
        ],
    }


def present(outcomes: Sequence[Outcome]) -> Presented:
    drawn = outcomes[0]
    rows = [
        [
            one["title"],
            *(f"{share(one['layers'], kernel):.0f}%" for kernel in ("3x3", "5x5", "7x7")),
            f"{rate(one):.1f}",
        ]
        for one in (*drawn["published"], *drawn["found"])
    ]
    columns = ["network", "kernels of 3", "of 5", "of 7", "mean expansion rate"]
    pictures = {name: picture(f"sgnas-fig-9-{name}", drawn[name]) for name in ("published", "found")}
    return Presented([ResultTable("What the drawings show", columns, rows)], pictures)


def share(layers: Sequence[Sequence[str]], kernel: str) -> float:
    """The percentage of sub-blocks in use that have a kernel."""
    used = [name for layer in layers for name in layer if name != blocks.SKIP]
    return 100 * used.count(kernel) / len(used)


def rate(one: Any) -> float:
    """The mean number of sub-blocks in use."""
    layers: Sequence[Sequence[str]] = one["layers"]
    return sum(name != blocks.SKIP for layer in layers for name in layer) / len(layers)


def picture(slug: str, drawn: Sequence[Any]) -> str:
    """The drawings one below the other, as one SVG file."""
    networks: list[tuple[str, Layers]] = [(one["title"], tuple(map(tuple, one["layers"]))) for one in drawn]
    legend = blocks.legend(layers for _, layers in networks)
    height, width = 195.0, max(blocks.width(layers) for _, layers in networks)
    parts = [
        svg.tag(
            "g",
            svg.text(8, 16, title, "title"),
            svg.tag("g", blocks.draw(layers, legend, f"{slug}-{number}", title), transform="translate(0,24)"),
            transform=f"translate(0,{number * height})",
        )
        for number, (title, layers) in enumerate(networks)
    ]
    size: dict[str, str | float] = {"width": width, "height": height * len(networks)}
    ground = svg.tag("rect", fill="white", **size)
    return str(
        svg.tag("svg", Markup(f"<style>{STYLE}</style>"), ground, *parts, xmlns="http://www.w3.org/2000/svg", **size)
    )


EXPERIMENT = Experiment(
    name="sgnas-fig-9",
    title="SGNAS, Fig. 9: found architectures, drawn",
    measure=measure,
    present=present,
    seeds=1,
)
