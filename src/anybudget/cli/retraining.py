"""The command `retrain`: architectures of a run, or published networks, trained on its data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from anybudget.cli.opening import open_run, with_engine
from anybudget.cli.options import DataOption, JsonOption, RunArgument, WorkersOption
from anybudget.cli.streams import out
from anybudget.errors import ConfigError


def retrain(
    target: RunArgument,
    architecture: Annotated[
        Path | None, typer.Argument(metavar="ARCH.json", help="An architecture, or generate's JSON.")
    ] = None,
    zoo: Annotated[
        list[str] | None,
        typer.Option("--zoo", metavar="NAME", help="A published network instead, such as sgnas-a; repeatable."),
    ] = None,
    inherit: Annotated[
        bool | None, typer.Option("--inherit/--scratch", help="Start from the supernet's weights, or afresh.")
    ] = None,
    try_start: Annotated[
        bool, typer.Option("--try-start", help="Start from whichever of the two a short trial says is better.")
    ] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs; the recipe's if not given.")] = None,
    as_json: JsonOption = False,
    workers: WorkersOption = None,
    data: DataOption = None,
) -> None:
    """Train architectures on their own and measure them on the test split."""
    _check(target, architecture, zoo, inherit or try_start)
    if try_start and inherit is not None:
        raise ConfigError("--try-start: says itself which weights to start from; leave out --inherit and --scratch")
    opened = with_engine(open_run(target, data), None, workers)
    if zoo:
        results = opened.train_zoo(zoo, epochs=epochs)
    else:
        from anybudget.spaces.files import read_architectures

        assert architecture is not None  # it has been looked for
        found = read_architectures(architecture, opened.space)
        results = opened.retrain_each(found, inherit="try" if try_start else inherit, epochs=epochs)
    if as_json:
        out.print_json(json.dumps(results))
    else:
        from anybudget.cli.tables import print_retrained

        print_retrained(results)


def _check(target: Path, architecture: Path | None, zoo: list[str] | None, inherit: bool | None) -> None:
    """Check that what is trained is said once, and in one way."""
    if (architecture is None) == (not zoo):
        raise ConfigError(
            f"retrain {target}: give either a file of architectures, such as {target}/candidates.jsonl, or --zoo NAME "
            "(anybudget zoo lists them)"
        )
    if zoo and inherit:
        raise ConfigError("--inherit, --try-start: a network of the zoo has no weights to inherit; leave it out")
