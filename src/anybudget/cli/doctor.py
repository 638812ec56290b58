"""The command `doctor`, and what it prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from anybudget.cli.opening import text_of
from anybudget.cli.options import JsonOption
from anybudget.cli.streams import out, printable
from anybudget.errors import ConfigError


def doctor(
    target: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="The folder of a run to look at, besides the installation.")
    ] = None,
    as_json: JsonOption = False,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="PATH", help="Where to look for the run's data; not kept.")
    ] = None,
) -> None:
    """Show what anybudget runs on, and whether a run folder is sound and can be resumed; changes nothing."""
    from anybudget.runs.doctor import examine

    if data is not None and target is None:
        raise ConfigError("--data: says where the data of a run lie; name the run, too")
    found = examine(target, data=text_of(data))
    if as_json:
        out.print_json(json.dumps(found))
    else:
        print_examination(found)
    if found["problems"]:
        sys.exit(2)


def print_examination(found: Mapping[str, Any]) -> None:
    """Print what `examine` found: the installation, and a line for everything that was looked at in a run folder."""
    from rich.table import Table
    from rich.text import Text

    from anybudget.cli.terminal import new_table, show
    from anybudget.runs.environment import facts

    table = new_table("environment", ("", ""))
    table.show_header = False
    for name, value in facts(found["environment"]):
        table.add_row(name, Text(printable(value)))
    show(table)
    if found["run"] is None:
        return
    table = Table(title=Text(f"run {printable(found['run'])}"), title_justify="left", title_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("looked at", header_style="bold", overflow="fold")
    table.add_column("found", header_style="bold", overflow="fold")
    styles = {"ok": "green", "note": "yellow", "problem": "bold red"}
    for check in found["checks"]:
        state = Text(check["state"], styles[check["state"]])
        table.add_row(state, *(Text(printable(check[key])) for key in ("check", "found")))
    show(table)
    out.print(f"{found['problems'] or 'no'} problem{'' if found['problems'] == 1 else 's'}")
