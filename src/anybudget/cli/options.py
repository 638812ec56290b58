"""The arguments and options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anybudget.search import STRATEGIES

STRATEGY_HELP = ", ".join(STRATEGIES.builtin) + "; or one that a package or --import adds."

RecipeArgument = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe, such as recipes/demo.toml.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a recipe key.")]
BudgetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--budget",
        "--budgets",
        "-b",
        metavar="BUDGETS",
        help='Hard limits, such as "macs<=2M, params<=100k"; repeatable.',
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON with stable keys instead of a table.")]
OutOption = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Run folder; default runs/RECIPE-NAME.")]
TargetArgument = Annotated[
    Path, typer.Argument(metavar="RUN|RECIPE", help="A run folder, or a recipe (.toml) to start a run from.")
]


RaceOption = Annotated[
    bool | None,
    typer.Option(
        "--race/--no-race",
        help="Train the best of each budget on and halve them until one is left; the recipe says if not given.",
    ),
]
InstantOption = Annotated[
    bool,
    typer.Option("--instant", help="What the generator holds most probable, at once; nothing is judged or kept."),
]
EngineOption = Annotated[
    str,
    typer.Option("--engine", metavar="[local|ray]", help="What evaluates candidates: this machine, or Ray's workers."),
]
AddressOption = Annotated[
    str | None, typer.Option("--address", metavar="HOST:PORT", help="A Ray cluster to join; without, one is started.")
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="PATH", help="Where the run's data lie now, if they have moved; kept from then on."),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="Processes that share out independent work, or Ray's; as many as there are cores if not given.",
    ),
]
