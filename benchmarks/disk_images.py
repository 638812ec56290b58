"""A supernet trained on JPEGs that stay on disk, in bounded memory, killed again and again: the weights are the same.

Makes a folder of 224-pixel JPEGs, leaves it out of the disk cache, trains on it with two reading workers, and watches
the memory of all processes together. The same is done again with kills (SIGKILL) at random moments of the training,
and the weights are compared. What the network takes is the peak of a run of the same recipe on a few images in memory.
Everything is kept in --out: started again, the script goes on with the part that it was at. Delete the folder to
measure anew.
Run: python benchmarks/disk_images.py [--images 20000] [--epochs 1] [--kills 5]
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image
from rich.console import Console

from anybudget.cli.terminal import RichProgress
from anybudget.recipe import load_recipe
from anybudget.runs.data_loading import INDEX
from anybudget.runs.run import Run
from measure import machine

ROOT = Path(__file__).resolve().parents[1]
SIDE, CLASSES, FEW = 224, 10, 400
BOUND = 2**30
"""Bytes that training on images on disk may take above the network."""

RECIPE = """
name = "disk-images"
threads = 1
device = "cpu"
checkpoint_seconds = 5

[data]
source = "{source}"
keep = "{keep}"
readers = {readers}
validation_fraction = 0.02
test_fraction = 0.02

[space]
name = "shufflenet"
input_size = {side}
input_channels = 3
classes = {classes}
stem_width = 8
stem_stride = 2
stages = [
    {{ width = 16, repeats = 1, stride = 2 }},
    {{ width = 16, repeats = 1, stride = 2 }},
    {{ width = 32, repeats = 1, stride = 2 }},
]
head_width = 32

[supernet]
epochs = {epochs}
batch_size = 64
learning_rate = 0.05

[generator]
epochs = 1
batch_size = 64

[search]
budgets = ["macs<=1G"]

[retrain]
epochs = 1
batch_size = 64
learning_rate = 0.05
"""

WORK = """
import sys
from pathlib import Path
from anybudget.cli.terminal import RichProgress
from anybudget.runs.run import Run

Run.open(Path(sys.argv[1]), RichProgress()).train_supernet()
"""

SAMPLED = 0.1
"""Seconds between two looks at the memory."""

MIB = 2**20


@dataclass(frozen=True)
class Watched:
    """A process that has ended: seconds, and the most bytes that it and its children took together."""

    seconds: float
    peak: int
    code: int


def make_images(folder: Path, count: int) -> int:
    """Write the JPEGs that are not there yet, `count` in all; their bytes together. A class has its own stripes."""
    total = 0
    with RichProgress().task(f"{folder.name}: JPEGs written", count) as task:
        for number in range(count):
            file = folder / f"class{number % CLASSES}" / f"{number:06d}.jpg"
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                begun = file.with_suffix(".part")
                picture(number).save(begun, "JPEG", quality=90)
                begun.rename(file)
            total += file.stat().st_size
            task.advance(1)
    return total


def picture(number: int) -> Image.Image:
    """Stripes in the direction of the class, on coarse noise."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    angle = np.pi * (number % CLASSES) / CLASSES
    stripes = np.sin((np.cos(angle) * rows + np.sin(angle) * columns) / 6 + rng.uniform(0, 6))
    coarse = rng.integers(0, 256, (SIDE // 8, SIDE // 8, 3), dtype=np.uint8)
    noise = np.asarray(Image.fromarray(coarse).resize((SIDE, SIDE)), np.float32)
    pixels = (0.6 * noise + 50 * (stripes[..., None] + 1) * (0.5 + 0.5 * rng.random(3))).clip(0, 255)
    return Image.fromarray(pixels.astype(np.uint8))


def cool(folder: Path) -> None:
    """Have the system forget the files of a folder, so that they are read from the disk."""
    os.sync()
    for file in folder.rglob("*.jpg"):
        with file.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def work_on(run: Path, kill_after: float | None = None) -> Watched:
    """Train in a process of its own, and kill it when it has trained for so many seconds."""
    started, trains, peak = time.perf_counter(), None, 0
    process = subprocess.Popen([sys.executable, "-c", WORK, str(run)])
    try:
        while process.poll() is None:
            memory, children = _memory(process.pid)
            peak, now = max(peak, memory), time.perf_counter()
            if trains is None and children and (run / INDEX).exists():  # all images have been looked at
                trains = now
            if kill_after is not None and trains is not None and now - trains > kill_after:
                process.kill()
            time.sleep(SAMPLED)
    finally:
        process.kill()
        process.wait()
    return Watched(time.perf_counter() - started, peak, process.returncode)


def _memory(pid: int) -> tuple[int, int]:
    """Memory of a process and its children, where pages that several share count once; and how many children."""
    total, children = 0, 0
    with contextlib.suppress(psutil.Error):
        top = psutil.Process(pid)
        below = top.children(recursive=True)
        children = len(below)
        for process in (top, *below):
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
    return total, children


def begin(run: Path, source: Path, epochs: int, keep: str, readers: int) -> Path:
    """A new run folder with the recipe."""
    shutil.rmtree(run, ignore_errors=True)  # of a part that was not measured to its end
    recipe = run.with_suffix(".toml")
    recipe.write_text(
        RECIPE.format(source=source, keep=keep, readers=readers, side=SIDE, classes=CLASSES, epochs=epochs)
    )
    Run.create(load_recipe(recipe), run)
    return run


class Parts:
    """The parts of the benchmark that have been measured, in a file.

    Args:
        path: the file.
        asked: what was asked for; measurements of something else are refused.
    """

    def __init__(self, path: Path, asked: dict[str, int]) -> None:
        self._path, self._asked = path, asked
        kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"asked": asked, "parts": {}}
        if kept["asked"] != asked:
            sys.exit(f"{path}: was measured with {kept['asked']}: delete its folder, or ask for the same")
        self._found: dict[str, list[dict[str, Any]]] = kept["parts"]

    def get(self, name: str, measure: Callable[[], list[Watched]]) -> list[Watched]:
        """What was measured, or is now."""
        if name not in self._found:
            self._found[name] = [asdict(one) for one in measure()]
            self._path.write_text(json.dumps({"asked": self._asked, "parts": self._found}, indent=1))
        return [Watched(**one) for one in self._found[name]]


def killed(run: Path, kills: int, training: float) -> list[Watched]:
    """Train with kills at random moments, each after a part of the seconds that all steps take, and then to the end."""
    draw = random.Random(0)
    found = [work_on(run, draw.uniform(0.4, 0.9) * training / kills) for _ in range(kills)]
    return [*found, work_on(run)]


def step_seconds(run: Path) -> tuple[float, float]:
    """Seconds of all steps of a training, and those of them in which it waited for images."""
    rows = list(csv.DictReader((run / "supernet.csv").read_text(encoding="utf-8").splitlines()))
    return sum(float(row["seconds"]) for row in rows), sum(float(row["waiting_seconds"]) for row in rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--readers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "bench-disk-images")
    asked = parser.parse_args()
    console = Console(width=120)
    console.print(machine())
    folder: Path = asked.out
    folder.mkdir(parents=True, exist_ok=True)
    keys = ("images", "epochs", "kills", "readers")
    parts = Parts(folder / "measured.json", {key: getattr(asked, key) for key in keys})
    small, images, whole, broken = (folder / name for name in ("small", "images", "whole", "broken"))
    make_images(small, FEW)
    stored, decoded = make_images(images, asked.images), asked.images * 3 * SIDE * SIDE
    sizes = f"{stored / MIB:,.0f} MiB on disk, {decoded / MIB:,.0f} MiB decoded"
    console.print(f"{asked.images:,} JPEGs of {SIDE} pixels: {sizes}")

    def on_disk(run: Path) -> Path:
        cool(images)
        return begin(run, images, asked.epochs, "disk", asked.readers)

    (network,) = parts.get("network", lambda: [work_on(begin(folder / "network", small, 2, "memory", 0))])
    kept = FEW * 3 * SIDE * SIDE / MIB
    console.print(f"the same network on {FEW} images in memory ({kept:.0f} MiB): peak {network.peak / MIB:,.0f} MiB")
    (once,) = parts.get("whole", lambda: [work_on(on_disk(whole))])
    training, waiting = step_seconds(whole)
    console.print(
        f"unbroken, from a cold folder, {asked.readers} readers: {once.seconds:.0f} s, of these {training:.1f} s of "
        f"steps, {100 * waiting / training:.0f}% of them waiting for images"
    )
    above = once.peak - network.peak
    console.print(
        f"peak {once.peak / MIB:,.0f} MiB, {above / MIB:,.0f} MiB above the network's: "
        f"{'within' if above <= BOUND else 'ABOVE'} {BOUND / MIB:,.0f} MiB"
    )
    found = parts.get("broken", lambda: killed(on_disk(broken), asked.kills, training))
    kills = sum(one.code != 0 for one in found[:-1])
    weights = [(run / "supernet.safetensors").read_bytes() for run in (whole, broken)]
    same = weights[0] == weights[1]
    console.print(
        f"killed {kills} times, then resumed to the end (exit code {found[-1].code}): peak "
        f"{max(one.peak for one in found) / MIB:,.0f} MiB; the weights are "
        f"{'the same to the last bit' if same else 'DIFFERENT'}"
    )
    sys.exit(0 if same and kills == asked.kills and above <= BOUND else 1)


if __name__ == "__main__":
    main()
