"""Detection on blood cells with a searched network as the backbone of a RetinaNet, beside MobileNetV2 of equal cost.

`recipes/photographs/cifar10-mbconv.toml` is run on 12,000 CIFAR-10 photographs: a supernet of inverted bottlenecks is
trained for 20 epochs, the architecture generator is asked for a network of at most 1.45 M multiply-adds, the best
candidates are raced, and the answer is trained alone. MobileNetV2, all widths scaled down alike until it costs the
same, is trained alike. Each is the backbone of a RetinaNet with a feature pyramid, trained on the 205 training images
of BCCD (blood cells: red, white, platelets) and judged on its 72 test images by COCO's metric; the searched network
also with new weights, to see what those of classification are worth. Seeds share the search and the classifiers; each
draws the new weights, the order of images and which are mirrored. So errors are those of training detectors, not of the
search. Settings of the detector were chosen on the validation images, with MobileNetV2 as the backbone. Where search
and classifiers are there already, the times below leave them out: about nine core minutes.

It needs the extra `detect`, torchvision and pycocotools: `make papers-train`.

Differs from the paper: its networks are trained on ImageNet, and its detectors on COCO.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock

from anybudget.recipe import load_recipe, overridden
from anybudget.storage.records import Detected
from anybudget.transfer.opening import BoxSource
from detection import KINDS, RECIPE, SMALL, Trained, detectors, some, trained_networks
from experiments.base import ROOT, Experiment, Outcome, Presented, ResultTable, spread
from experiments.keeping import few_images

BOXES = ROOT.parent / "shared" / "data" / "bccd_detection_voc.zip"
PHOTOGRAPHS = ROOT / "data" / "cifar10"

_QUICK = [
    *("supernet.epochs=1", "generator.epochs=1", "retrain.epochs=1", "search.calibration_images=16"),
    *("supernet.batch_size=16", "generator.batch_size=16", "retrain.batch_size=16"),
    *("search.generator.priors=1", "search.generator.candidates=2", "search.race.candidates=2"),
]
_QUICK_DETECTOR = ["detect.epochs=1", "detect.warmup_epochs=0", "detect.size=64", "detect.longest=96"]


def missing() -> str:
    for library in ("torchvision", "pycocotools"):
        if find_spec(library) is None:
            return f"{library} is not installed; pip install 'anybudget[detect]', or: make papers-train"
    if not BOXES.is_file():
        return f"{BOXES}: no such file; it is the BCCD data set in Pascal VOC's layout, zipped"
    if not PHOTOGRAPHS.is_dir():
        return f"{PHOTOGRAPHS}: no such folder; make it with benchmarks/cifar.py, of 12,000 and 10,000 images"
    return ""


def measure(seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    recipe = load_recipe(RECIPE, _QUICK if quick else ())
    settings = overridden(SMALL, "detect", _QUICK_DETECTOR) if quick else SMALL
    out = folder / "sgnas-table-4"
    with FileLock(folder / ".sgnas-table-4.lock"):  # seeds share these
        networks = trained_networks(recipe, out, data=few_images(3, 32) if quick else None)
    data = some(BoxSource(BOXES).open(settings.validation_fraction, seed=0), 4 if quick else None)
    found = detectors(networks, data, settings, seed, out)
    return {kind: outcome(record, networks[kind.partition(",")[0]]) for kind, record in found.items()}


def outcome(record: Detected, network: Trained) -> dict[str, Any]:
    """What is kept of a detector, and of the classifier that it was built on."""
    accuracy = record.accuracy
    return {
        "macs": network.macs,
        "test_top1_percent": network.test_top1_percent,
        "map_percent": accuracy.map_percent,
        "map50_percent": accuracy.map50_percent,
        "classes": {one.name: one.map_percent for one in accuracy.classes},
        "images": accuracy.images,
        "settings": record.settings,
    }


def present(outcomes: Sequence[Outcome]) -> Presented:
    columns = [
        "backbone",
        "multiply-adds, M",
        "CIFAR-10 top-1, %",
        "mAP, %",
        "mAP50, %",
        "mAP by seed",
        "mAP50 by seed",
    ]
    names = list(outcomes[0][KINDS[0]]["classes"])
    rows, by_class = [], []
    for kind in KINDS:
        seeds = [outcome[kind] for outcome in outcomes]
        top1 = "-" if kind.endswith("new weights") else f"{seeds[0]['test_top1_percent']:.2f}"
        found = [[seed[key] for seed in seeds] for key in ("map_percent", "map50_percent")]
        each = [", ".join(f"{value:.1f}" for value in values) for values in found]
        rows.append([kind, f"{seeds[0]['macs'] / 1e6:.2f}", top1, *(spread(values, 1) for values in found), *each])
        by_class.append([kind, *(spread([seed["classes"][name] for seed in seeds], 1) for name in names)])
    images = outcomes[0][KINDS[0]]["images"]
    return Presented(
        [
            ResultTable(f"Mean average precision on {images} test images", columns, rows),
            ResultTable("mAP of each class, %", ["backbone", *names], by_class),
        ]
    )


EXPERIMENT = Experiment(
    name="sgnas-table-4",
    title="SGNAS, Table 4: backbones of detectors",
    measure=measure,
    present=present,
    seeds=2,
    missing=missing,
)
