"""Promises of latency: how well spaces are predicted on this machine, and how many promises networks keep.

    python benchmarks/latency.py [--spaces demo mbconv nas-bench-macro] [--promises 100] [--runtime onnxruntime]

Each space is profiled. Then networks are searched within limits between 20% and 80% of what is reached, each by scores
of its own that favour many multiply-adds, as a search does, and decoded exactly; they are measured ten at a time, each
ten in a process of their own. Printed are the check of each profile, the share of promises kept and what was left of
the limits. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from anybudget.architecture import Architecture
from anybudget.budgets import Budget, BudgetSet
from anybudget.costs import build_costs
from anybudget.costs.latency import LatencyCost, LatencyProfile, Quantity
from anybudget.decoding.decoder import Decoder
from anybudget.decoding.reachability import extremes
from anybudget.latency.blocks import Blocks
from anybudget.latency.measuring import measure_as, runtime_of
from anybudget.latency.profiling import ProfileSettings, profile_space
from anybudget.recipe import load_unmeasured
from anybudget.runtime.progress import SilentProgress
from anybudget.runtime.rounds import Rounds
from anybudget.spaces import SearchSpace

RECIPES = Path(__file__).parents[1] / "recipes"
SPACES = {"demo": "demo.toml", "mbconv": "small/mbconv.toml", "nas-bench-macro": "small/nas-bench-macro.toml"}
TOGETHER = 10
LOWEST, HIGHEST = 0.2, 0.8
LEAST_USE = 0.98
"""The least share of a limit that an answer uses, where any network does; a recipe's search.min_use."""


@dataclass(frozen=True)
class Kept:
    """A promise: the limit, what was predicted below it, and measured after one start and over several, in ms."""

    limit: float
    predicted: float
    once: float
    measured: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spaces", nargs="+", choices=SPACES, default=list(SPACES))
    parser.add_argument("--promises", type=int, default=100, help="of all spaces together")
    parser.add_argument("--promise", type=float, default=0.95)
    parser.add_argument("--quantity", choices=("quiet", "p50", "p95"), default="quiet")
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    kept: list[Kept] = []
    print("| space | networks checked | mean error, % | within 3%, % | within 10%, % | tau | tau of MACs | margin, % |")
    print("|---|---|---|---|---|---|---|---|")
    for number, name in enumerate(given.spaces):
        space = load_unmeasured(RECIPES / SPACES[name]).build_space()
        settings = ProfileSettings(given.runtime, threads=given.threads, seed=given.seed)
        with TemporaryDirectory() as folder:
            profile = profile_space(space, settings, Path(folder) / "latency.json", SilentProgress())
        cost = LatencyCost(space, "latency_ms", profile, given.promise, given.quantity)
        print(_row(name, profile, cost), flush=True)
        share = given.promises * (number + 1) // len(given.spaces) - given.promises * number // len(given.spaces)
        kept += promises(space, cost, share, given.quantity, np.random.default_rng(given.seed))
        _say(name, kept[-share:], given.promise)
    if len(given.spaces) > 1:
        _say("all", kept, given.promise)


def promises(
    space: SearchSpace, cost: LatencyCost, count: int, quantity: Quantity, rng: np.random.Generator
) -> list[Kept]:
    """What networks that were found within limits take, each measured in a process with nine others."""
    low, high = extremes(cost.terms)
    limits = [low + (high - low) * rng.uniform(LOWEST, HIGHEST) for _ in range(count)]
    found = [search(space, cost, limit, rng) for limit in limits]
    blocks, results = Blocks(space, runtime_of(cost.profile)), []
    for start in range(0, count, TOGETHER):
        networks = found[start : start + TOGETHER]
        measured = measure_as(cost.profile, blocks, networks, Rounds(seed=start))
        for limit, network, times in zip(limits[start:], networks, measured.times, strict=False):
            over_all = getattr(times, quantity)
            once = times.once if quantity == "quiet" else over_all
            results.append(Kept(limit, cost.predicted(network), once, over_all))
    return results


def search(space: SearchSpace, cost: LatencyCost, limit: float, rng: np.random.Generator) -> Architecture:
    """The best network within a limit, of those that use it, by scores that are drawn and rise with multiply-adds."""
    macs = build_costs(space, ["macs"])["macs"].terms
    scale = float(np.mean([row.std() for row in macs.unary])) or 1.0
    scores = [rng.standard_normal(len(row)) + (row - row.mean()) / scale for row in macs.unary]
    floors = {cost.name: LEAST_USE * limit}
    decoder = Decoder({cost.name: cost.terms}, BudgetSet((Budget(cost.name, limit),)), floors)
    return space.simplified(Architecture(space.name, decoder.decode(scores)[0].choices))


def _row(name: str, profile: LatencyProfile, cost: LatencyCost) -> str:
    check = profile.check
    assert check is not None
    return (
        f"| {name} | {check.networks} | {check.mape_percent:.2f} | {check.within_3_percent:.1f} | "
        f"{check.within_10_percent:.1f} | {check.tau:.4f} | {check.tau_macs:.4f} | {100 * cost.margin:.2f} |"
    )


def _say(name: str, kept: list[Kept], promise: float) -> None:
    """How many promises were kept, and how much of the limits and of the promises was left."""
    held, once = [row.measured <= row.limit for row in kept], [row.once <= row.limit for row in kept]
    unused = [100 * (1 - row.measured / row.limit) for row in kept]
    errors = [100 * (row.measured / row.predicted - 1) for row in kept]
    print(
        f"{name}: of {len(held)} promises of {promise:.0%} kept {np.mean(once):.1%} after one start, "
        f"{np.mean(held):.1%} by the median of several; unused on average "
        f"{np.mean(unused):.2f}%, at worst {min(unused):.2f}%; above predicted on average {np.mean(errors):.2f}%",
        flush=True,
    )


if __name__ == "__main__":
    main()
