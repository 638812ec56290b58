"""Backbones of a detector: searched with classification weights, searched with new ones, MobileNetV2 of equal MACs.

A run of the recipe gives the searched network, trained alone as the recipe retrains; MobileNetV2 is scaled to its
multiply-adds (benchmarks/mobilenet.py) and trained alike. Then each is the backbone of detectors that are trained alike
with several seeds, which draw new weights, the order of images and which are mirrored: errors are those of training the
detector, not of the search. What is done is kept, and the same command goes on.
On the blood cells `python benchmarks/papers.py sgnas-table-4` does the same.
Run: python benchmarks/detection.py --boxes bccd_detection_voc.zip [--run RUN] [--recipe R] [--seeds 2] [--epochs N]
     [--images N] [--set KEY=VALUE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from anybudget.cli.terminal import RichProgress
from anybudget.data import DataSource
from anybudget.recipe import Recipe, load_recipe, overridden
from anybudget.runs.backbones import Backbone, backbone_of_folder
from anybudget.runs.detecting import Detection, detect
from anybudget.runs.finding import last_answers
from anybudget.runs.run import Run
from anybudget.storage.files import write_whole
from anybudget.storage.records import Detected
from anybudget.transfer.boxes import BoxData
from anybudget.transfer.opening import BoxSource
from anybudget.transfer.settings import DetectSettings
from fashion import ROOT
from mobilenet import same_everywhere, scaled

RECIPE = ROOT / "recipes" / "photographs" / "cifar10-mbconv.toml"

SMALL = DetectSettings(
    batch_size=2,
    size=160,
    longest=240,
    width=32,
    maps=2,
    head_norms="group",
    norms="batch",
    optimiser="adamw",
    learning_rate=2e-3,
    reference_batch=0,
    annealing="cosine",
    warmup_epochs=1.0,
)
"""`[detect]` for two cores and a few hundred images, on which SGD at the paper's rate finds nothing in 12 epochs.

All norms follow the batch, so that backbones with trained and with new weights are trained alike.
"""

SEARCHED, MOBILENET = "searched", "MobileNetV2"
KINDS = (f"{SEARCHED}, trained weights", f"{SEARCHED}, new weights", f"{MOBILENET}, trained weights")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", type=Path, required=True, help="a COCO file, or VOC data")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--run", type=Path, help="a run that has answered a budget; one of the recipe if not given")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "bench-detection")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--images", type=int, help="so many of each split; all if not given")
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="of the recipe, or of [detect]")
    arguments = parser.parse_args()
    of_detect = [text for text in arguments.overrides if text.startswith("detect.")]
    if arguments.epochs:
        of_detect.insert(0, f"detect.epochs={arguments.epochs}")
    settings = overridden(SMALL, "detect", of_detect)
    of_recipe = [text for text in arguments.overrides if not text.startswith("detect.")]
    networks = trained_networks(load_recipe(arguments.recipe, of_recipe), arguments.out, arguments.run)
    for name, network in networks.items():
        print(f"{name}: {network.macs:,.0f} multiply-adds, {network.test_top1_percent:.2f}% of test images", flush=True)
    data = some(BoxSource(arguments.boxes).open(settings.validation_fraction, seed=0), arguments.images)
    found: dict[str, list[Detected]] = {kind: [] for kind in KINDS}
    for seed in range(arguments.seeds):
        for kind, record in detectors(networks, data, settings, seed, arguments.out).items():
            found[kind].append(record)
            print(f"seed {seed}: {kind}: {said([record])}", flush=True)
        write_whole(arguments.out / "detection.json", json.dumps(summary(found), indent=2).encode())
    for kind, records in found.items():
        print(f"{kind}: {said(records)}")


@dataclass(frozen=True)
class Trained:
    """A network that has been trained as a classifier: its folder, multiply-adds, and what it scores on test images."""

    folder: Path
    macs: float
    test_top1_percent: float


def trained_networks(
    recipe: Recipe, out: Path, given: Path | None = None, data: DataSource | None = None
) -> dict[str, Trained]:
    """The searched network and MobileNetV2, both trained alone; what is done is not done again."""
    if given is not None:
        run = Run.open(given, RichProgress())
    else:
        run = Run.create(recipe, out / "search", RichProgress(), data=data)
        for stage, work in (
            ("supernet", run.train_supernet),
            ("generator", run.train_generator),
            ("search", run.search),
        ):
            if not run.folder.finished(stage):
                work()
    answer = list(last_answers(run.context).values())[-1]
    narrow = scaled(run.recipe, run.costs["macs"].cost(answer)).model_copy(update={"name": "mobilenet"})
    other = Run.create(narrow, out / "mobilenet", RichProgress(), data=data)
    found = {}
    for name, one, network in ((SEARCHED, run, answer), (MOBILENET, other, same_everywhere(other.space))):
        folder = one.folder.path / "retrain" / network.short_id
        if not (folder / "result.json").is_file():
            one.retrain(network)
        result = json.loads((folder / "result.json").read_text())
        found[name] = Trained(folder, result["costs"]["macs"], result["test_top1_percent"])
    return found


def detectors(
    networks: Mapping[str, Trained], data: BoxData, settings: DetectSettings, seed: int, out: Path
) -> dict[str, Detected]:
    """The detectors of a seed, by kind."""
    found = {}
    for number, kind in enumerate(KINDS):
        folder = out / "detect" / f"{number}-{seed}"
        wanted = Detection(folder, settings, seed, device="cpu", progress=RichProgress())
        found[kind] = detect(backbone(networks, kind), data, wanted)
    return found


def backbone(networks: Mapping[str, Trained], kind: str) -> Backbone:
    name, _, weights = kind.partition(", ")
    return backbone_of_folder(networks[name].folder, "random" if weights == "new weights" else None)


def some(data: BoxData, images: int | None) -> BoxData:
    """The first images of each split; all if None."""
    return replace(data, splits={split: found[:images] for split, found in data.splits.items()})


def said(records: list[Detected]) -> str:
    parts = []
    for name, key in (("mAP", "map_percent"), ("mAP50", "map50_percent")):
        values = np.array([getattr(record.accuracy, key) for record in records], dtype=float)
        error = f" ± {values.std(ddof=1) / len(values) ** 0.5:.1f}" if len(values) > 1 else ""
        parts.append(f"{name} {values.mean():.1f}{error}%")
    return f"{', '.join(parts)} on {records[0].accuracy.images} {records[0].judged_on} images"


def summary(found: Mapping[str, list[Detected]]) -> dict[str, object]:
    return {kind: [record.to_json() for record in records] for kind, records in found.items()}


if __name__ == "__main__":
    main()
