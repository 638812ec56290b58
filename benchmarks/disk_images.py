"""A supernet trained on JPEGs that stay on disk, in bounded memory, killed again and again: the weights are the same.

Makes a folder of 224-pixel JPEGs, leaves it out of the disk cache, trains on it with two reading workers, and watches
the memory of all processes together. The same is done again with kills (SIGKILL) at random moments, and the weights
are compared. What the network takes is the peak of a run of the same recipe on a few images in memory.
Run: python benchmarks/disk_images.py [--images 20000] [--epochs 1] [--kills 5]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from rich.console import Console

from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from measure import machine

SIDE, CLASSES = 224, 10

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
from anybudget.runs.run import Run

Run.open(Path(sys.argv[1])).train_supernet()
"""

SAMPLED = 0.2
"""Seconds between two looks at the memory."""

MIB = 2**20


@dataclass(frozen=True)
class Watched:
    """A process that has ended: seconds, and the most memory that it and its children took together, in bytes."""

    seconds: float
    peak: int
    code: int


def make_images(folder: Path, count: int) -> int:
    """Write `count` JPEGs in class folders; their bytes together. Each class has a direction of stripes."""
    rng, total = np.random.default_rng(0), 0
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for number in range(count):
        label = number % CLASSES
        angle = np.pi * label / CLASSES
        stripes = np.sin((np.cos(angle) * rows + np.sin(angle) * columns) / 6 + rng.uniform(0, 6))
        coarse = rng.integers(0, 256, (SIDE // 8, SIDE // 8, 3), dtype=np.uint8)
        noise = np.asarray(Image.fromarray(coarse).resize((SIDE, SIDE)), np.float32)
        pixels = (0.6 * noise + 50 * (stripes[..., None] + 1) * (0.5 + 0.5 * rng.random(3))).clip(0, 255)
        file = folder / f"class{label}" / f"{number:06d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(file, quality=90)
        total += file.stat().st_size
    return total


def cool(folder: Path) -> None:
    """Have the system forget the files of a folder, so that they are read from the disk."""
    os.sync()
    for file in folder.rglob("*.jpg"):
        with file.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def work_on(run: Path, kill_after: float | None = None) -> Watched:
    """Train in a process of its own, and kill it after so many seconds."""
    started, peak = time.perf_counter(), 0
    process = subprocess.Popen([sys.executable, "-c", WORK, str(run)])
    while process.poll() is None:
        peak = max(peak, _memory(process.pid))
        if kill_after is not None and time.perf_counter() - started > kill_after:
            process.kill()
        time.sleep(SAMPLED)
    return Watched(time.perf_counter() - started, peak, process.returncode)


def _memory(pid: int) -> int:
    """Memory of a process and its children; pages that several share count once."""
    total = 0
    with contextlib.suppress(psutil.Error):
        top = psutil.Process(pid)
        for process in (top, *top.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
    return total


def begin(run: Path, source: Path, epochs: int, keep: str, readers: int) -> Path:
    """A run folder with the recipe."""
    recipe = run.with_suffix(".toml")
    recipe.write_text(
        RECIPE.format(source=source, keep=keep, readers=readers, side=SIDE, classes=CLASSES, epochs=epochs)
    )
    Run.create(load_recipe(recipe), run)
    return run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--readers", type=int, default=2)
    asked = parser.parse_args()
    console = Console(width=120)
    console.print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small, images = folder / "small", folder / "images"
        make_images(small, 400)
        stored = make_images(images, asked.images)
        decoded = asked.images * 3 * SIDE * SIDE
        sizes = f"{stored / MIB:,.0f} MiB on disk, {decoded / MIB:,.0f} MiB decoded"
        console.print(f"{asked.images:,} JPEGs of {SIDE} pixels: {sizes}")
        network = work_on(begin(folder / "network", small, 2, "memory", 0))
        console.print(f"the same network on 400 images in memory: peak {network.peak / MIB:,.0f} MiB")
        cool(images)
        whole = work_on(begin(folder / "whole", images, asked.epochs, "disk", asked.readers))
        console.print(
            f"unbroken, from a cold folder, {asked.readers} readers: {whole.seconds:.0f} s, peak "
            f"{whole.peak / MIB:,.0f} MiB, {(whole.peak - network.peak) / MIB:,.0f} MiB above the network's"
        )
        rows = (folder / "whole" / "supernet.csv").read_text().splitlines()
        console.print("\n".join(rows))
        broken = begin(folder / "broken", images, asked.epochs, "disk", asked.readers)
        cool(images)
        draw, killed, peak = random.Random(0), 0, 0
        for _ in range(asked.kills):
            found = work_on(broken, draw.uniform(0.1, 1.6 / max(1, asked.kills)) * whole.seconds)
            killed, peak = killed + (found.code != 0), max(peak, found.peak)
        last = work_on(broken)
        weights = [(folder / run / "supernet.safetensors").read_bytes() for run in ("whole", "broken")]
        same = "the same to the last bit" if weights[0] == weights[1] else "DIFFERENT"
        console.print(
            f"killed {killed} times, then resumed to the end (exit code {last.code}): peak "
            f"{max(peak, last.peak) / MIB:,.0f} MiB; the weights are {same}"
        )
        sys.exit(0 if weights[0] == weights[1] and killed == asked.kills else 1)


if __name__ == "__main__":
    main()
