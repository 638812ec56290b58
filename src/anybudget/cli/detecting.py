"""The command `detect`: a detector on a found network, and the boxes that it finds in an image."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anybudget.cli.opening import open_run
from anybudget.cli.options import JsonOption, SetOption
from anybudget.cli.streams import out
from anybudget.errors import ConfigError, shown

if TYPE_CHECKING:
    from anybudget.runs.backbones import Backbone
    from anybudget.runs.context import RunContext
    from anybudget.storage.records import Detected, FoundBox
    from anybudget.transfer.opening import BoxSource
    from anybudget.transfer.settings import DetectSettings

WEIGHTS = ("retrained", "raced", "inherited")


@dataclass(frozen=True)
class _Subject:
    """The network that is meant: its run, if it is in one, and the folder that its detector goes into."""

    run: RunContext | None
    backbone: Backbone
    folder: Path


def detect(
    target: Annotated[
        Path,
        typer.Argument(metavar="RUN|NETWORK", help="A run, a folder of a network such as retrain/ID, or a file of it."),
    ],
    network: Annotated[
        str | None,
        typer.Argument(
            metavar="ARCH|BUDGET", help='A network of the run: its id, a JSON file, or a budget such as "macs<=700k".'
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="COCO.json|VOC", help="Images with boxes to train on.")
    ] = None,
    val: Annotated[
        Path | None, typer.Option("--val", metavar="COCO.json", help="Those to judge by; drawn if not given.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", metavar="DIR", help="Where the images of COCO are.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(metavar="[retrained|raced|inherited]", help="To begin with; the first of these that there are."),
    ] = None,
    random_weights: Annotated[bool, typer.Option("--random-weights", help="Begin with new weights.")] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs; 12, or [detect]'s, if not given.")] = None,
    size: Annotated[int | None, typer.Option(min=32, help="Pixels of the shorter side; 800, or [detect]'s.")] = None,
    batch: Annotated[int | None, typer.Option(min=2, help="Images to a batch; 16, or [detect]'s.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The run's, or 0, if not given.")] = None,
    overrides: SetOption = None,
    device: Annotated[str | None, typer.Option(metavar="DEVICE", help="The run's, or auto, if not given.")] = None,
    out_dir: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where to; default detect/ID in the run.")
    ] = None,
    image: Annotated[
        Path | None, typer.Option("--predict", metavar="IMAGE", help="Draw the boxes found in it to a PNG file.")
    ] = None,
    score: Annotated[float, typer.Option(min=0, max=1, help="The least score of boxes that are drawn.")] = 0.5,
    as_json: JsonOption = False,
) -> None:
    """Train a detector, a RetinaNet, on a found network and judge it by COCO's metric; or ask one for boxes."""
    if data is None and image is None:
        raise ConfigError("detect: give --data with images to train on, or --predict with an image")
    subject = _subject(target, network, _weights(weights, random_weights), out_dir)
    record = None
    if data is not None:
        from anybudget.transfer.opening import BoxSource

        flags = {"epochs": epochs, "size": size, "batch_size": batch}
        settings = _settings(None if subject.run is None else subject.run.recipe.detect, flags, overrides or ())
        record = _trained(subject, BoxSource(data, val, images), settings, seed, device)
        if not as_json:
            print_detected(record)
    found = None if image is None else _predicted(subject.folder, image, score, as_json=as_json)
    if as_json:
        drawn = None if found is None else [box.to_json() for box in found]
        out.print_json(json.dumps({"detector": None if record is None else record.to_json(), "found": drawn}))
    else:
        out.print(f"detector: {subject.folder}", markup=False)


def _weights(named: str | None, random: bool) -> Any:
    """Which weights are asked for; None if it was not said."""
    if named is not None and named not in WEIGHTS:
        raise ConfigError(f"--weights {shown(named)}: write one of {', '.join(WEIGHTS)}, or give --random-weights")
    if named is not None and random:
        raise ConfigError(f"--weights {named}, --random-weights: give one of the two")
    return "random" if random else named


def _subject(target: Path, network: str | None, weights: Any, out_dir: Path | None) -> _Subject:
    """The network that is meant by the arguments."""
    from anybudget.runs.backbones import backbone_of_folder, backbone_of_run
    from anybudget.runs.detecting import FOLDER
    from anybudget.runs.exporting import kept_in_run
    from anybudget.runs.finding import find_architecture

    ending = "-random" if weights == "random" else ""
    if network is not None:
        run = open_run(target).context
        backbone = backbone_of_run(run, find_architecture(run, network), weights)
        return _Subject(run, backbone, out_dir or run.folder.path / FOLDER / f"{backbone.name}{ending}")
    if (target / "recipe.toml").is_file():
        raise ConfigError(
            f'{target}: is a run; name one of its networks, too: its id, a JSON file, or a budget such as "macs<=700k"'
        )
    backbone, inside = backbone_of_folder(target, weights), kept_in_run(target)
    if inside is not None:
        folder = inside / FOLDER / f"{backbone.name}{ending}"
        return _Subject(open_run(inside).context, backbone, out_dir or folder)
    beside = target if target.is_dir() else target.parent
    return _Subject(None, backbone, out_dir or beside / FOLDER / f"{backbone.name}{ending}")


def _settings(section: DetectSettings | None, flags: dict[str, int | None], overrides: Sequence[str]) -> DetectSettings:
    """`[detect]` of the recipe, or its defaults, as flags and overrides change it."""
    from anybudget.recipe import overridden
    from anybudget.transfer.settings import DetectSettings

    changes = [f"detect.{key}={value}" for key, value in flags.items() if value is not None]
    if flags["epochs"] is not None and not any(text.startswith("detect.milestones") for text in overrides):
        changes.append("detect.milestones=[]")  # those of the recipe belong to its own epochs
    if flags["size"] is not None and not any(text.startswith("detect.longest") for text in overrides):
        found = section or DetectSettings()
        changes.append(f"detect.longest={round(flags['size'] * found.longest / found.size)}")
    return overridden(section or DetectSettings(), "detect", [*changes, *overrides])


def _trained(
    subject: _Subject, source: BoxSource, settings: DetectSettings, seed: int | None, device: str | None
) -> Detected:
    """The detector of the network; what is not said is as the recipe of its run has it."""
    from anybudget.cli.terminal import RichProgress
    from anybudget.runs.detecting import Detection
    from anybudget.runs.detecting import detect as train

    recipe = None if subject.run is None else subject.run.recipe
    if seed is None:
        seed = 0 if recipe is None else recipe.seed
    device = device or ("auto" if recipe is None else recipe.device)
    seconds = 300.0 if recipe is None else recipe.checkpoint_seconds
    boxes = source.open(settings.validation_fraction, seed)
    return train(subject.backbone, boxes, Detection(subject.folder, settings, seed, device, seconds, RichProgress()))


def _predicted(folder: Path, image: Path, score: float, *, as_json: bool) -> list[FoundBox]:
    """Find boxes in an image, and draw them to a PNG file in the folder of the detector."""
    from anybudget.runs.detecting import predict
    from anybudget.storage.files import write_whole

    found, drawn = predict(folder, image, score)
    path = folder / f"{image.stem}.png"
    content = io.BytesIO()
    drawn.save(content, "PNG")
    write_whole(path, content.getvalue())
    if not as_json:
        from anybudget.cli.terminal import new_table, show

        table = new_table(f"boxes in {image.name}, score {score:g} and above", ("class", "score", "box in pixels"))
        for box in found:
            table.add_row(box.name, f"{box.score:.2f}", ", ".join(f"{side:.0f}" for side in box.box))
        show(table)
        out.print(f"drawn: {path}", markup=False)
    return found


def print_detected(record: Detected) -> None:
    """Print what a detector reaches, class by class."""
    from anybudget.cli.terminal import new_table, show

    accuracy = record.accuracy
    title = f"{record.judged_on}: {accuracy.images:,} images, {accuracy.boxes:,} boxes; {record.weights} weights"
    table = new_table(title, ("class", "boxes", "mAP", "mAP50", "mAP75"))
    for one in accuracy.classes:
        table.add_row(one.name, f"{one.boxes:,}", _percent(one.map_percent), "", "")
    figures = (accuracy.map_percent, accuracy.map50_percent, accuracy.map75_percent)
    table.add_row("all", f"{accuracy.boxes:,}", *map(_percent, figures))
    show(table)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}%"
