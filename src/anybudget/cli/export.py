"""The command `export`, and what it prints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anybudget.cli.opening import open_run
from anybudget.cli.options import DataOption, JsonOption
from anybudget.cli.streams import out
from anybudget.errors import ConfigError, shown

if TYPE_CHECKING:
    from anybudget.export.forms import Wanted
    from anybudget.storage.records import Export

WEIGHTS = ("retrained", "inherited")


def export(
    target: Annotated[
        Path, typer.Argument(metavar="RUN|NETWORK", help="The folder of a run, or of a network in it: retrain/ID.")
    ],
    network: Annotated[
        str | None,
        typer.Argument(
            metavar="ARCH|BUDGET",
            help='A network of the run: its id, a JSON file, or the budget it answers, such as "macs<=700k".',
        ),
    ] = None,
    to: Annotated[
        list[str] | None,
        typer.Option("--to", metavar="[onnx|torch|int8|openvino]", help="A form; repeatable. onnx if not given."),
    ] = None,
    weights: Annotated[
        str, typer.Option(metavar="[retrained|inherited]", help="Of its own training, or of the supernet.")
    ] = WEIGHTS[0],
    out_dir: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where to; default export/ID in the run.")
    ] = None,
    with_preprocessing: Annotated[
        bool, typer.Option("--with-preprocessing", help="Take pixels, uint8 [N, H, W, C]; not for torch.")
    ] = False,
    min_agreement: Annotated[
        float | None,
        typer.Option(metavar="PERCENT", help="The least share of test images int8 must answer alike; 95 if not given."),
    ] = None,
    as_json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Write a trained network as ONNX, int8, OpenVINO or a stand-alone file of Python, checked against PyTorch."""
    if weights not in WEIGHTS:
        raise ConfigError(f"--weights {shown(weights)}: write one of {', '.join(WEIGHTS)}")
    from anybudget.export.forms import Wanted
    from anybudget.export.int8 import MIN_AGREEMENT

    least = MIN_AGREEMENT if min_agreement is None else min_agreement
    wanted = Wanted(tuple(to or ("onnx",)), with_preprocessing, least)
    folder, record = _exported(target, network, wanted, out_dir, weights, data)
    if as_json:
        out.print_json(json.dumps(record.to_json()))
        return
    print_export(record, wanted.names)
    out.print(f"model card: {folder / 'README.md'}", markup=False)


def _exported(
    target: Path, network: str | None, wanted: Wanted, out_dir: Path | None, weights: str, data: Path | None
) -> tuple[Path, Export]:
    """Export what is meant by `target` and `network`."""
    from anybudget.cli.terminal import RichProgress
    from anybudget.runs.exporting import export_folder, export_kept, export_network, kept_in_run
    from anybudget.runs.finding import find_architecture

    if network is not None:
        run = open_run(target, data).context
        architecture = find_architecture(run, network)
        return export_network(run, architecture, wanted, out_dir, inherited=weights == "inherited")
    if weights == "inherited":
        raise ConfigError("--weights inherited: needs a run and one of its networks, ARCH or BUDGET")
    inside = kept_in_run(target)
    if inside is not None:
        return export_kept(open_run(inside, data).context, target.resolve(), wanted, out_dir)
    if (target / "recipe.toml").is_file():
        raise ConfigError(
            f'{target}: is a run; name one of its networks, too: its id, a JSON file, or a budget such as "macs<=700k"'
        )
    if data is not None:
        raise ConfigError("--data: says where the data of a run lie, and this folder of a network is in none")
    return export_folder(target, wanted, out_dir, RichProgress())


def print_export(record: Export, forms: Sequence[str]) -> None:
    """Print the forms that were written, and how each compares with PyTorch."""
    from anybudget.cli.terminal import new_table, show
    from anybudget.export.subject import name_of

    name = name_of(record.network)
    columns = ("form", "files", "bytes", "images", "equal answers", "largest difference")
    table = new_table(f"network {name}, beside PyTorch", columns)
    for form in forms:
        made = record.forms[form]
        table.add_row(
            form,
            "\n".join(made.files),
            "\n".join(f"{size:,}" for size in made.files.values()),
            f"{made.checked.images:,}{' random' if made.checked.images_of == 'random' else ''}",
            f"{100 * made.checked.equal_answers / made.checked.images:.2f}%",
            f"{made.checked.largest_difference:.2g} of {made.checked.largest_logit:.3g}",
        )
    show(table)
    if "int8" in forms:
        _print_int8(record)


def _print_int8(record: Export) -> None:
    """Print an int8 network beside that of floats."""
    from anybudget.cli.terminal import new_table, show

    found = record.forms["int8"].quantised
    assert found is not None
    table = new_table("int8 beside floats, in ONNX Runtime", ("", "floats", "int8"))
    before, after = found.before, found.after
    table.add_row("top-1 on test images", f"{before.top1_percent:.2f}%", f"{after.top1_percent:.2f}%")
    table.add_row("bytes", f"{found.before_bytes:,}", f"{found.after_bytes:,}")
    table.add_row("ms for one image, one thread", f"{found.before_ms:.3g}", f"{found.after_ms:.3g}")
    show(table)
    out.print(f"{found.agreement_percent:.2f}% of {after.images:,} test images have equal answers")
