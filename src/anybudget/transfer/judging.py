"""How well a detector finds boxes: the metric of COCO, as pycocotools computes it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anybudget.runtime.optional import optional
from anybudget.runtime.progress import Progress
from anybudget.storage.records import BoxAccuracy, ClassBoxes
from anybudget.transfer.boxes import BoxedImage
from anybudget.transfer.detector import EXTRA
from anybudget.transfer.images import Reading

STATS = ("map_percent", "map50_percent", "map75_percent", "small_percent", "medium_percent", "large_percent")
"""The first figures of COCO's summary, in its order."""


@dataclass(frozen=True)
class Found:
    """The boxes that a detector finds in an image: `[N, 4]` in pixels of the stored image, scores and labels `[N]`.

    The most probable come first.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


@torch.inference_mode()
def find(detector: nn.Module, pixels: Tensor, scale: tuple[float, float]) -> Found:
    """The boxes in one image `[C, H, W]`, normalised, that was scaled so; see `Reading.scaled`.

    Images are looked at one by one, so no box depends on what else is in a batch.
    """
    device = next(detector.parameters()).device
    (found,) = detector([pixels.to(device)])
    boxes = found["boxes"].float().cpu() / torch.tensor([*scale, *scale])
    return Found(boxes, found["scores"].float().cpu(), found["labels"].cpu())


def judge(
    detector: nn.Module,
    images: Sequence[BoxedImage],
    reading: Reading,
    class_names: Sequence[str],
    progress: Progress,
) -> BoxAccuracy:
    """Find the boxes of images and compare them with those that are there.

    Raises:
        ConfigError: pycocotools is not installed.
        DataError: an image cannot be read.
    """
    found = []
    with progress.task("detect: images judged", len(images)) as task:
        for image in images:
            read = reading.read(image)
            found.append(find(detector, read.pixels, read.scale))
            task.advance()
    return accuracy(images, found, class_names)


def accuracy(images: Sequence[BoxedImage], found: Sequence[Found], class_names: Sequence[str]) -> BoxAccuracy:
    """Mean average precision over IoU 0.5 to 0.95 and its parts, in percent; None where there is no such box.

    Args:
        images: with their boxes; ignored ones count neither for nor against.
        found: in each of them.
        class_names: by labels.

    Raises:
        ConfigError: pycocotools is not installed.
    """
    coco, evaluation = (optional(f"pycocotools.{name}", "detection", EXTRA) for name in ("coco", "cocoeval"))
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        truth, answers = coco.COCO(), coco.COCO()
        categories = [{"id": label, "name": name} for label, name in enumerate(class_names)]
        listed = [{"id": index, "width": i.width, "height": i.height} for index, i in enumerate(images)]
        truth.dataset = {"images": listed, "categories": categories, "annotations": _true(images)}
        answers.dataset = {"images": listed, "categories": categories, "annotations": _answered(found)}
        truth.createIndex()
        answers.createIndex()
        judged = evaluation.COCOeval(truth, answers, "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    figures = {name: _percent(value) for name, value in zip(STATS, judged.stats, strict=False)}
    return BoxAccuracy(
        images=len(images),
        boxes=sum(int((~image.ignored).sum()) for image in images),
        **figures,
        classes=tuple(_by_class(images, judged.eval["precision"], class_names)),
    )


def _true(images: Sequence[BoxedImage]) -> list[dict[str, Any]]:
    """The boxes of images as annotations of COCO, which are numbered from 1: a match with number 0 counts as none."""
    return _annotations(
        (index, box, label, {"iscrowd": int(ignored)})
        for index, image in enumerate(images)
        for box, label, ignored in zip(image.boxes.tolist(), image.labels.tolist(), image.ignored.tolist(), strict=True)
    )


def _answered(found: Sequence[Found]) -> list[dict[str, Any]]:
    """Boxes that were found, as annotations of COCO."""
    return _annotations(
        (index, box, label, {"iscrowd": 0, "score": score})
        for index, one in enumerate(found)
        for box, label, score in zip(one.boxes.tolist(), one.labels.tolist(), one.scores.tolist(), strict=True)
    )


def _annotations(rows: Any) -> list[dict[str, Any]]:
    found = []
    for number, (index, (left, top, right, bottom), label, more) in enumerate(rows, start=1):
        box = [left, top, right - left, bottom - top]
        found.append(
            {"id": number, "image_id": index, "category_id": label, "bbox": box, "area": box[2] * box[3], **more}
        )
    return found


def _by_class(images: Sequence[BoxedImage], precision: Any, class_names: Sequence[str]) -> list[ClassBoxes]:
    """Average precision of each class; `precision` is `[IoU, recall, class, area, detections]`, -1 where none is."""
    labels = torch.cat([image.labels[~image.ignored] for image in images])
    rows = []
    for label, name in enumerate(class_names):
        known = precision[:, :, label, 0, -1]
        known = known[known > -1]
        mean = None if not known.size else 100.0 * float(np.mean(known))
        rows.append(ClassBoxes(name=name, boxes=int((labels == label).sum()), map_percent=mean))
    return rows


def _percent(value: float) -> float | None:
    return None if value < 0 else 100.0 * float(value)
