"""The commands `data`: what a data set holds, before an hour is spent on it, and packing it into tar files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from anybudget.cli.options import JsonOption
from anybudget.cli.streams import out, printable

if TYPE_CHECKING:
    from anybudget.data.overview import Overview

_DEFAULT = "PATH"
"""The command that is meant where none is named."""


class _PathOrCommand(TyperGroup):
    """A group that takes the path of a data set where no command is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command that takes a path before what is none of the others."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)


data = typer.Typer(
    cls=_PathOrCommand,
    no_args_is_help=True,
    help="Show what a data set holds, and what is wrong with it, before anything is trained on it.",
)


@data.command(_DEFAULT)
def overview(
    source: Annotated[
        str, typer.Argument(metavar="PATH", help="A folder, a file, or the name of a registered source.")
    ],
    sheet: Annotated[
        Path | None, typer.Option("--sheet", metavar="FILE", help="Draw a few images of each class into a PNG.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=1, max=2**14, metavar="PIXELS", help="Say the memory for this side of the images.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a data set holds: `anybudget data PATH`.

    Ends with exit code 2 where a run would refuse it as it is.
    """
    from anybudget.cli.terminal import RichProgress
    from anybudget.data.overview import look_at, overview_of, write_sheet
    from anybudget.data.overview.summary import SIDES

    found = look_at(source, progress=RichProgress())
    shown = overview_of(found, sorted({*SIDES, *([size] if size else [])}))
    if sheet is not None:
        write_sheet(found, sheet)
    if as_json:
        out.print_json(json.dumps(shown.to_dict()))
    else:
        print_overview(shown)
        if sheet is not None:
            out.print(f"contact sheet: {sheet}", markup=False)
    if shown.refused:
        sys.exit(2)


@data.command("pack")
def pack_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of class folders of images.")],
    out_folder: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder for the tar files.")],
    side: Annotated[
        int | None,
        typer.Option(
            min=8, max=2**14, metavar="PIXELS", help="Scale the shorter side of larger images to this, as JPEGs."
        ),
    ] = None,
    megabytes: Annotated[
        int, typer.Option(min=1, max=10**6, metavar="MB", help="About how large a tar file becomes.")
    ] = 256,
) -> None:
    """Pack a folder of images into a few tar files, which are read like the folder: `anybudget data pack FOLDER OUT`.

    Without --side they hold the very files, and a run that was begun with the folder goes on with them (--data OUT).
    """
    from anybudget.cli.terminal import RichProgress
    from anybudget.data.packing import pack

    packed = pack(folder, out_folder, side=side, shard_bytes=megabytes * 10**6, progress=RichProgress())
    said = f"{packed.images:,} images, {packed.size / 2**20:,.1f} MiB, in {packed.shards} tar file(s)"
    out.print(f"{said}: {printable(str(out_folder))}", markup=False)


def print_overview(shown: Overview) -> None:
    """Print what a data set holds: images of each class in each split, then all else, then what is wrong."""
    from rich.text import Text

    from anybudget.cli.terminal import new_table, show

    drawn = f"; {' and '.join(shown.drawn)} are drawn" if shown.drawn else ""
    title = f"{printable(shown.source)}: images of each class{drawn}"
    table = new_table(title, ("class", *shown.counts, "all", "share"))
    totals = {name: sum(split[name] for split in shown.counts.values()) for name in shown.classes}
    for name in sorted(shown.classes, key=lambda name: -totals[name]):
        share = 100.0 * totals[name] / max(1, shown.images)
        cells = (f"{split[name]:,}" for split in shown.counts.values())
        table.add_row(Text(printable(name)), *cells, f"{totals[name]:,}", f"{share:.2f}%")
    cells = (f"{sum(split.values()):,}" for split in shown.counts.values())
    table.add_row("all", *cells, f"{shown.images:,}", "")
    show(table)
    facts = new_table("facts", ("", ""))
    facts.show_header = False
    facts.columns[1].justify = "left"
    for name, said in _facts(shown):
        facts.add_row(name, Text(printable(said)))
    show(facts)
    for names, title in ((shown.broken, "cannot be decoded"), (shown.ignored, "not read")):
        for file, why in names:
            out.print(f"{title}: {printable(file)} ({printable(why)})", markup=False)
    for alike in shown.duplicates.examples[:5]:
        out.print(f"same pixels: {printable(', '.join(alike))}", markup=False)
    for said in shown.warnings:
        out.print(f"warning: {printable(said)}", style="yellow", markup=False)
    for said in shown.refused:
        out.print(f"refused: {printable(said)}", style="bold red", markup=False)


def _facts(shown: Overview) -> list[tuple[str, str]]:
    """The rows of the table of facts."""
    sizes = ", ".join(f"{name} {width}×{height}" for name, (width, height) in shown.sizes.items())
    copies, largest = shown.duplicates, shown.largest_class
    return [
        ("sizes", f"{sizes} (by the shorter side)" if sizes else "none"),
        ("modes", _counted(shown.modes)),
        ("formats", _counted(shown.formats)),
        ("channels", str(shown.channels)),
        ("largest class", f"{largest} {shown.largest_class_percent:.2f}%, {shown.imbalance:.1f} times the smallest"),
        ("same pixels", f"{copies.copies} copies, {copies.across} across splits, {copies.conflicting} in two classes"),
        ("broken", f"{shown.broken_count} file(s)"),
        ("not read", f"{shown.ignored_count} file(s) or folder(s)"),
        ("memory", ", ".join(f"{size / 2**20:,.0f} MiB at {side} pixels" for side, size in shown.memory_bytes.items())),
    ]


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"
