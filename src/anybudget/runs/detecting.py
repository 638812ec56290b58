"""Detectors on found networks: trained into a folder, judged, kept, and asked for the boxes of an image."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from pydantic import ValidationError
from torch import nn

from anybudget.data import DataFacts
from anybudget.data.images import Target
from anybudget.errors import RunError, shorten
from anybudget.runs.backbones import Backbone, rebuilt
from anybudget.runs.threads import RunThreads
from anybudget.runs.trained import WEIGHTS, described_specs
from anybudget.runs.work import as_memory_error
from anybudget.runtime.allocator import freed_memory_kept
from anybudget.runtime.device import pick_device
from anybudget.runtime.distributed import Processes
from anybudget.runtime.process_state import computing_threads, seeded
from anybudget.runtime.progress import Progress, SilentProgress
from anybudget.runtime.signals import stop_requests
from anybudget.storage.checkpoint import FileCheckpoint
from anybudget.storage.lock import has_ended
from anybudget.storage.provenance import package_version
from anybudget.storage.records import Detected, FoundBox, checked, read_record
from anybudget.storage.run_folder import HOLDER, RunFolder
from anybudget.storage.weights import read_weights
from anybudget.training.loop import Row, TrainingContext
from anybudget.transfer.boxes import BoxData
from anybudget.transfer.detector import build_detector
from anybudget.transfer.drawing import drawn_boxes, opened
from anybudget.transfer.images import BoxBatches, Reading
from anybudget.transfer.judging import find, judge
from anybudget.transfer.settings import DetectSettings
from anybudget.transfer.training import train_detector

log = logging.getLogger(__name__)

FOLDER = "detect"
"""Where in a run folder detectors are kept, each in a folder of its own."""

RESULT, ROWS, CHECKPOINT = "result.json", "detect.csv", "training.checkpoint"
AGAIN = "delete that folder, and train the detector again: anybudget detect"


@dataclass(frozen=True)
class Detection:
    """How a detector is trained, and where.

    Args:
        folder: gets all files; unfinished work in it is resumed.
        settings: of detector and training.
        seed: draws new weights, the order of images and which are mirrored.
        device: as recipes name it.
        checkpoint_seconds: how long between two checkpoints.
        progress: who watches.
    """

    folder: Path
    settings: DetectSettings = field(default_factory=DetectSettings)
    seed: int = 0
    device: str = "auto"
    checkpoint_seconds: float = 300.0
    progress: Progress = field(default_factory=SilentProgress)


def detect(backbone: Backbone, data: BoxData, wanted: Detection) -> Detected:
    """Train a detector on a network, judge it, and keep it with its weights.

    A detector that is there, trained on the same with the same settings, is not trained again. One of other settings is
    kept beside it as `result.1.json` and so on.

    Args:
        backbone: the network.
        data: images with boxes.
        wanted: how, and where.

    Returns:
        What `result.json` holds.

    Raises:
        ConfigError: torchvision or pycocotools is not installed, or settings and network do not fit.
        DataError: an image cannot be read.
        RunError: another process is at work in the folder, or unfinished work there has other settings.
        TrainingError: the loss is not finite.
        Stopped: training was asked to stop, and has been saved.

    Example:
        >>> backbone = backbone_of_folder(Path("runs/demo/retrain/0123456789"))  # doctest: +SKIP
        >>> data = BoxSource(Path("cells.zip")).open(0.15, seed=0)  # doctest: +SKIP
        >>> detect(backbone, data, Detection(Path("cells"))).accuracy.map_percent  # doctest: +SKIP
        42.0
    """
    settings = wanted.settings.model_dump(mode="json")
    origin = {**backbone.origin, "data": {"digest": data.digest}, "settings": settings, "seed": wanted.seed}
    origin = json.loads(json.dumps(origin))  # as it is read back
    known = read_record(wanted.folder / RESULT, Detected, AGAIN)
    if known is not None and known.origin == origin:
        log.info("%s: trained before with the same settings, kept", wanted.folder)
        _tidy(wanted.folder, origin)
        return known
    started = time.perf_counter()
    device = pick_device(wanted.device)
    with _working(wanted, device, origin) as (folder, context, rows):
        detector, reading = _built(backbone, data, wanted.settings, wanted.seed)
        batches = BoxBatches(
            data.splits["train"], reading, wanted.settings.batch_size, wanted.seed, flip=wanted.settings.flip
        )
        train_detector(detector.to(device), batches, wanted.settings, context, fixed_norms=_fixed(backbone, wanted))
        accuracy = judge(detector, data.splits[data.judged_on], reading, data.class_names, wanted.progress)
        result = {
            **_asked(backbone, data, origin),
            "accuracy": accuracy.to_json(),
            "seconds": time.perf_counter() - started,
        }
        record = checked(result, Detected, str(wanted.folder / RESULT))
        _write(folder, rows, detector, record)
        assert isinstance(context.checkpoint, FileCheckpoint)
        context.checkpoint.clear()
    return record


def _asked(backbone: Backbone, data: BoxData, origin: dict[str, Any]) -> dict[str, Any]:
    """What a detector is of, as its record has it."""
    return {
        "version": package_version("anybudget"),
        "network": backbone.network.to_json(),
        "facts": backbone.facts.to_dict(),
        "weights": backbone.weights,
        "class_names": data.class_names,
        "settings": origin["settings"],
        "origin": origin,
        "images": {split: len(images) for split, images in data.splits.items()},
        "dropped": data.dropped,
        "judged_on": data.judged_on,
    }


def load_detector(path: Path) -> tuple[nn.Module, Detected]:
    """A detector that `detect` has kept, in evaluation mode on the CPU, and what is known of it.

    Raises:
        RunError: there is none, or a file of it is damaged.
    """
    record = read_record(path / RESULT, Detected, AGAIN)
    if record is None:
        raise RunError(f"{path}: no detector has been trained here; train one: anybudget detect RUN ARCH --data DATA")
    facts, settings = _described(record, path)
    with torch.random.fork_rng(devices=[]):  # the first weights are drawn, and replaced
        network = rebuilt(described_specs(record.network, str(path / RESULT), AGAIN), facts)
        detector = build_detector(network, len(record.class_names), settings)
    read_weights(path / WEIGHTS, detector, AGAIN, described_by=str(path / RESULT))
    return detector.eval(), record


def _described(record: Detected, path: Path) -> tuple[DataFacts, DetectSettings]:
    """How a kept detector takes images, and how it was built."""
    try:
        return DataFacts.from_dict(record.facts, "facts"), DetectSettings.model_validate(record.settings)
    except (RunError, ValidationError) as error:
        raise RunError(f"{path / RESULT}: damaged: {shorten(str(error), 200)}; {AGAIN}") from None


def predict(path: Path, image: Path, least: float) -> tuple[list[FoundBox], Image.Image]:
    """The boxes that a kept detector finds in an image file, and the image with these drawn into it.

    Args:
        path: the folder of the detector.
        image: the file.
        least: the score from which on boxes count, from 0 to 1.

    Raises:
        RunError: see `load_detector`.
        DataError: the image cannot be decoded.
    """
    detector, record = load_detector(path)
    facts, settings = _described(record, path)
    reading = Reading(facts, settings.size, settings.longest)
    detector.score_thresh = least  # type: ignore[assignment]  # torchvision's own is 0.05
    stored = opened(image, Target(facts.preparation.channels, None, facts.preparation.value_range))
    found = find(detector, *reading.scaled(stored))
    names = record.class_names
    boxes = [
        FoundBox(name=names[label], score=score, box=(box[0], box[1], box[2], box[3]))
        for box, score, label in zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
        if score >= least
    ]
    return boxes, drawn_boxes(stored, boxes, names)


@contextmanager
def _working(
    wanted: Detection, device: torch.device, origin: dict[str, Any]
) -> Iterator[tuple[RunFolder, TrainingContext, list[Row]]]:
    """Work in the folder, alone there: it can be stopped, is saved on the way, and starts torch's generators anew."""
    wanted.folder.mkdir(parents=True, exist_ok=True)
    folder, rows = RunFolder(wanted.folder), list[Row]()
    threads = RunThreads(folder, 0)
    with (
        computing_threads(threads.count()),
        freed_memory_kept(),
        seeded(wanted.seed),
        folder.locked(),
        stop_requests() as request,
        as_memory_error(),
    ):
        checkpoint = FileCheckpoint(
            wanted.folder / CHECKPOINT, origin, seconds=wanted.checkpoint_seconds, request=request
        )
        yield (
            folder,
            TrainingContext(
                checkpoint=checkpoint,
                processes=Processes(device),
                progress=wanted.progress,
                log=rows.append,
                rollbacks=wanted.settings.rollbacks,
                choose_threads=threads.choose,
            ),
            rows,
        )
        request.check()


def _built(backbone: Backbone, data: BoxData, settings: DetectSettings, seed: int) -> tuple[nn.Module, Reading]:
    """A new detector, and how it takes images."""
    detector = build_detector(backbone.build(seed), len(data.class_names), settings)
    return detector, Reading(backbone.facts, settings.size, settings.longest)


def _fixed(backbone: Backbone, wanted: Detection) -> bool:
    """Whether batch norms keep their statistics: those of new weights say nothing."""
    norms = wanted.settings.norms
    return norms == "fixed" or (norms == "auto" and backbone.weights != "random")


def _tidy(path: Path, origin: dict[str, Any]) -> None:
    """Remove what a kill has left behind that came after the record was written."""
    if has_ended(path / HOLDER):
        with suppress(RunError), RunFolder(path).locked():  # a checkpoint of other settings is still to be resumed
            left = FileCheckpoint(path / CHECKPOINT, origin)
            if left.load() is not None:
                left.clear()


def _write(folder: RunFolder, rows: list[Row], detector: nn.Module, record: Detected) -> None:
    """Write all files of a detector, the record last; another one that is there is kept beside it."""
    if (folder.path / RESULT).exists():
        for name in (ROWS, WEIGHTS, RESULT):  # the record last: where a kill comes between, the next call goes on
            if (folder.path / name).exists():
                folder.keep(name)
    folder.write_csv(ROWS, rows)
    folder.save_weights(WEIGHTS, detector)
    folder.write_json(RESULT, record.to_json())
