"""How the costs of every stage grow: with layers, choices of a layer, budgets, image size, images and candidates.

Times are processor times of this process, so that other work on the machine matters little; of each size the least of
a few rounds counts, and sizes take turns. Memory is the peak of tensors, other figures are counted. The exponent of a
curve is its slope with both axes logarithmic: 1 where twice as much costs twice as much. Curves that grow faster than
they should are marked.

Run: python benchmarks/growth.py [--quick] [--only WORD] [--out runs/growth]
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from anybudget.spaces import SearchSpace
from anybudget.storage.files import write_whole
from growth_folders import opening, reporting
from growth_picture import draw
from growth_stages import (
    BUDGETS,
    CHOICES,
    LAYERS,
    Curve,
    Work,
    decodings,
    generator_training,
    judging,
    mixture_step,
    path_step,
    proposals,
    sampling,
    searching,
    separate,
    unified,
)
from measure import machine, peak_bytes

SIDES, IMAGES = (16, 32, 64), (64, 256, 1024)
ROUNDS, LONG = 3, 1000.0
"""How often each piece is run; once where it takes longer than so many ms."""
TOLERANCE = 0.3
"""By how much an exponent may exceed what is expected before a curve is marked: few rounds, and caches that fill."""
Worked = Callable[[int], Sequence[Work]]


def over(make: Callable[[SearchSpace], Sequence[Work]], space: Callable[..., SearchSpace], key: str) -> Worked:
    """The works of a stage for the spaces that one setting gives."""
    return lambda size: make(space(**{key: size}))


def curves() -> Iterator[Curve]:
    """All of them, in the order in which they are measured."""
    yield Curve("a step of a path", "layers", LAYERS, 1, over(path_step, unified, "layers"))
    yield Curve("a step of a path", "choices", CHOICES, 0, over(path_step, unified, "choices"))
    yield Curve("a step of a path, separate blocks", "choices", CHOICES, 0, over(path_step, separate, "choices"))
    yield Curve("a step of a path", "pixels of a side", SIDES, 2, over(path_step, unified, "side"))
    yield Curve("8 steps of the generator", "layers", LAYERS, 1, over(generator_training, unified, "layers"))
    yield Curve("8 steps of the generator", "choices", CHOICES, 1, over(generator_training, unified, "choices"))
    yield Curve("a mixture", "pixels of a side", SIDES, 2, over(mixture_step, unified, "side"))
    yield Curve("a mixture, separate blocks", "choices", CHOICES[:3], 1, over(mixture_step, separate, "choices"))
    yield from _memory()
    for names, use, said in (
        (("macs",), 0.0, "one budget"),
        (("macs", "params"), 0.0, "two budgets"),
        (("macs", "params"), 0.95, "two budgets and a floor"),
    ):
        make = partial(decodings, names=names, use=use)
        yield Curve(f"decoding, {said}", "layers", LAYERS, 1, over(make, unified, "layers"), worst=True)
        yield Curve(f"decoding, {said}", "choices", CHOICES, 1, over(make, unified, "choices"), worst=True)
    yield Curve("judging", "layers", LAYERS, 1, lambda size: judging(layers=size))
    yield Curve("judging", "images", IMAGES, 1, lambda size: judging(images=size))
    yield Curve("judging", "candidates", (1, 8, 64), 1, judging)
    yield from _searches()
    yield Curve("opening a run", "layers", LAYERS, 1, opening)
    yield Curve("opening a run", "images", (1000, 4000, 16000), 1, lambda size: opening(images=size))
    yield Curve("opening a run with answers", "budgets", BUDGETS[2:], 1, lambda size: opening(answers=size))
    yield Curve("the report", "budgets", (*BUDGETS[2:], 300), 1, reporting)


def _memory() -> Iterator[Curve]:
    of = partial(Curve, unit="MB")
    yield of("a step of a path", "layers", LAYERS, 1, over(path_step, unified, "layers"))
    yield of("a step of a path, separate blocks", "choices", CHOICES, 0, over(path_step, separate, "choices"))
    yield of("a mixture", "layers", LAYERS, 1, over(mixture_step, unified, "layers"))
    yield of("a mixture", "choices", CHOICES, 1, over(mixture_step, unified, "choices"))
    yield of("judging", "candidates", (1, 4, 16), 0, judging)
    yield of("judging", "layers", LAYERS, 1, lambda size: judging(layers=size))
    yield of("judging", "images", IMAGES, 1, lambda size: judging(images=size))


def _searches() -> Iterator[Curve]:
    """Searches whose judging costs no time, so that what else grows is seen; and the images of the whole."""
    for strategy, sizes in (
        ("generator", BUDGETS),
        ("refined", BUDGETS),
        ("random", BUDGETS),
        ("evolution", BUDGETS[:3]),
        ("direct", BUDGETS[:3]),
    ):
        works = partial(searching, strategy)
        yield Curve(f"{strategy} without judging", "budgets", sizes, 1, works)
        yield Curve(f"{strategy}, training and judging", "budgets", BUDGETS[:3], 1, works, unit="images")
    yield Curve("answers without judging", "budgets", BUDGETS, 1, proposals)
    for names in (("macs",), ("macs", "params")):
        make = partial(proposals, 10, names=names)
        stage = f"10 answers without judging, {len(names)} budget{'s' * (len(names) > 1)} each"
        yield Curve(stage, "layers", LAYERS, 1, make)
    yield Curve("drawing the random baseline", "budgets", BUDGETS, 1, sampling)


def measured(curve: Curve, *, quick: bool) -> Iterator[dict[str, Any]]:
    """What a curve has come to: at each size the mean of its works, and their worst where that is asked for."""
    sizes = curve.sizes[: 3 if quick else None]
    works = {size: curve.works(size) for size in sizes}
    if curve.unit == "ms":
        pieces = times(works, 1 if quick else ROUNDS)
    elif curve.unit == "MB":
        pieces = {size: [peak_bytes(work) / 1e6 for work in each] for size, each in works.items()}
    else:
        pieces = {size: [float(work()) for work in each] for size, each in works.items()}
    for kind in ("", "worst ") if curve.worst else ("",):
        values = [max(pieces[size]) if kind else fmean(pieces[size]) for size in sizes]
        slope, end = exponents(sizes, values)
        yield {
            "stage": curve.stage,
            "measured": f"{kind}{curve.unit}",
            "axis": curve.axis,
            "sizes": list(sizes),
            "values": values,
            "exponent": slope,
            "end": end,
            "expected": curve.most,
            "too_fast": max(slope, end) > curve.most + TOLERANCE,
        }


def times(works: Mapping[int, Sequence[Work]], rounds: int) -> dict[int, list[float]]:
    """Milliseconds of processor time of each piece, the least of some rounds in which sizes take turns."""
    works[min(works)][0]()  # what the first of all has to import and to allocate
    found = {size: [np.inf] * len(each) for size, each in works.items()}
    for turn in range(rounds):
        for size, each in works.items():
            for number, work in enumerate(each):
                if turn and found[size][number] > LONG:
                    continue
                started = time.process_time()
                work()
                found[size][number] = min(found[size][number], 1e3 * (time.process_time() - started))
    return found


def exponents(sizes: Sequence[int], values: Sequence[float]) -> tuple[float, float]:
    """The slope of all points, both axes logarithmic, and that between the last two."""
    x, y = np.log(sizes), np.log(values)
    return float(np.polyfit(x, y, 1)[0]), float((y[-1] - y[-2]) / (x[-1] - x[-2]))


def shown(results: Sequence[Mapping[str, Any]]) -> Table:
    """The curves as a table."""
    table = Table("stage", "by", "measured", "from", "to", "exponent", "at the end", "at most", "")
    for row in results:
        first, last = (f"{row['values'][i]:,.4g} at {row['sizes'][i]:,}" for i in (0, -1))
        figures = f"{row['exponent']:.2f}", f"{row['end']:.2f}", f"{row['expected']:g}"
        mark = "grows faster" if row["too_fast"] else ""
        table.add_row(row["stage"], row["axis"], row["measured"], first, last, *figures, mark)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three sizes of each curve, one round: about a minute")
    parser.add_argument("--only", default="", help="curves whose stage or axis has this word")
    parser.add_argument("--out", type=Path, default=Path("runs") / "growth", help="where results are written")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)  # of trainings of a few steps that have learned nothing
    console, results, started = Console(width=150), list[dict[str, Any]](), time.process_time()
    for curve in curves():
        if arguments.only in f"{curve.stage} {curve.axis}":
            results += measured(curve, quick=arguments.quick)
            written = write(arguments.out, results, quick=arguments.quick)
            console.print(f"{time.process_time() - started:6.0f} s  {curve.stage} by {curve.axis}", style="dim")
    console.print(shown(results))
    if results:
        console.print(f"{time.process_time() - started:.0f} s of processor time; {written}")


def write(folder: Path, results: Sequence[Mapping[str, Any]], *, quick: bool) -> Path:
    """Write what has been measured so far, and its picture."""
    record = {"machine": machine(), "quick": quick, "curves": results}
    write_whole(folder / "growth.svg", draw(results).encode())
    return write_whole(folder / "growth.json", json.dumps(record, indent=1).encode())


if __name__ == "__main__":
    main()
