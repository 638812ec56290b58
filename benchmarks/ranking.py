"""A supernet's order of networks against the truth of NAS-Bench-Macro: a narrow copy of its space, some of CIFAR-10.

Needs two files that the project does not hold: CIFAR-10 as one JPEG blob (`blob`, `offsets`, `labels`, 50,000 training
images first), and the benchmark's JSON. Trains the supernet of benchmarks/narrow_macro.toml in runs/bench-ranking if
it is not there. Run: python benchmarks/ranking.py CIFAR.npz NAS-BENCH-MACRO.json
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anybudget.cli.tables import print_ranking
from anybudget.cli.terminal import RichProgress
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from demo import ROOT

TRAIN, TEST = 14_000, 1_000


def subset(source: Path, target: Path) -> Path:
    """Some training and test images, decoded; drawn with seed 0."""
    if not target.exists():
        with np.load(source, allow_pickle=False) as archive:
            blob, offsets, labels = (archive[name] for name in ("blob", "offsets", "labels"))

        def decode(indices: NDArray[np.int64]) -> NDArray[np.uint8]:
            images = (Image.open(io.BytesIO(blob[offsets[i] : offsets[i + 1]].tobytes())) for i in indices)
            return np.stack([np.asarray(image.convert("RGB")) for image in images])

        rng = np.random.default_rng(0)
        train = np.sort(rng.permutation(50_000)[:TRAIN])
        test = np.sort(50_000 + rng.permutation(10_000)[:TEST])
        target.parent.mkdir(parents=True, exist_ok=True)
        np.savez(target, x=decode(train), y=labels[train], xt=decode(test), yt=labels[test])
    return target


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    images = subset(Path(sys.argv[1]), ROOT / "runs" / "bench-ranking-images.npz")
    recipe = load_recipe(ROOT / "benchmarks" / "narrow_macro.toml", [f"data.source={images}"])
    run = Run.create(recipe, ROOT / "runs" / "bench-ranking", RichProgress())
    if not run.folder.finished("supernet"):
        run.train_supernet()
    print_ranking(run.rank(100, [100, 200, 500, 1000], Path(sys.argv[2])))


if __name__ == "__main__":
    main()
