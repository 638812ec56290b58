"""The commands `zoo` and `papers`: published networks beside exact counts, and where each part of the papers is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from anybudget.cli.options import JsonOption
from anybudget.cli.streams import out

if TYPE_CHECKING:
    from anybudget.zoo import ZooNetwork
    from anybudget.zoo.papers import Paper


def zoo(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A network, such as sgnas-a; a table of all if not given.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show published networks: their published costs beside what is counted here; weights are not shipped."""
    from anybudget.zoo import ZOO

    networks = list(ZOO.values()) if name is None else [ZOO[name]]
    if as_json:
        found = [network.to_dict() for network in networks]
        out.print_json(json.dumps(found if name is None else found[0]))
        return
    if name is not None:
        _print_blocks(networks[0])
    _print_networks(networks)


def papers(
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the page docs/papers.md.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show where each part of SGNAS, GreedyNAS and SPOS is: code, recipe, command, and what was measured here."""
    from anybudget.zoo import papers as data

    found = data.papers()
    if as_json:
        out.print_json(json.dumps([paper.model_dump(mode="json") for paper in found]))
    elif as_markdown:
        out.print(data.as_markdown(found).rstrip("\n"), markup=False)
    else:
        _print_papers(found)


def _print_papers(found: list[Paper]) -> None:
    """Print a table for each paper."""
    from anybudget.cli.terminal import new_table, show

    for paper in found:
        table = new_table(f"{paper.title}: {paper.source}", ("part", "what it is", "where", "run", "measured here"))
        for part in paper.part:
            table.add_row(
                part.part,
                part.what,
                ", ".join(part.code),
                "; ".join([*part.recipes, *([part.command] if part.command else [])]),
                f"{part.result or f'not measured: {part.unmeasured}'}{''.join(f'; {d}' for d in part.documents)}",
            )
        show(table)


def _print_networks(networks: list[ZooNetwork]) -> None:
    """Print a row for each network, and below why counts differ."""
    from anybudget.cli.terminal import new_table, show

    columns = ("network", "space", "MACs published", "counted", "parameters published", "counted", "top-1", "source")
    table = new_table("published networks, on ImageNet at 224 pixels", columns)
    for network in networks:
        published = network.published
        table.add_row(
            network.name,
            network.space_name or "blocks",
            published.macs or "",
            _counted(network.count(published.counting), network.agrees("macs")),
            published.params or "",
            _counted(network.count("params"), network.agrees("params")),
            "" if published.top1_percent is None else f"{published.top1_percent:.1f}%",
            published.source,
        )
    show(table)
    if any(network.note for network in networks):
        out.print("* does not round to the published figure:")
    for network in networks:
        if network.note:
            out.print(f"  {network.name}: {network.note}", markup=False)


def _print_blocks(network: ZooNetwork) -> None:
    """Print the blocks of a network with what each costs."""
    from anybudget.cli.terminal import new_table, show
    from anybudget.costs.counts import macs, params
    from anybudget.zoo.network import describe_block

    table = new_table(f"{network.title}, block by block", ("block", "convolutions", "MACs", "parameters"))
    for number, spec in enumerate(network.specs(), start=1):
        table.add_row(str(number), describe_block(spec), f"{macs(spec):,}", f"{params(spec):,}")
    show(table)


def _counted(exact: int, agrees: bool | None) -> str:
    """A count in millions, with a star where it does not round to the published figure."""
    return f"{exact / 1e6:.2f}M{'*' if agrees is False else ''}"
