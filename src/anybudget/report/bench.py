"""The page of a bench: clouds of scores against truth, and tables of orders and strategies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from anybudget.report import svg
from anybudget.report.page import page_environment
from anybudget.report.scales import fit
from anybudget.report.words import duration, figure
from anybudget.storage.files import write_whole
from anybudget.storage.records import Bench, BlendFigures, Cloud, Figure, OrderFigures, StrategyWorth

_WIDTH, _HEIGHT = 460.0, 340.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 440.0, 34.0, 285.0
_LEFT_OUT = 2.0
"""The percentage of networks, those that are truly worst, which a cloud leaves out: they would squeeze all others."""

FIGURES = ("kendall", "spearman", "top_kendall", "precision")


def write_bench_page(path: Path, found: Bench) -> Path:
    """Write the page of a bench as one file that needs no network; the same record gives the same bytes.

    Raises:
        RunError: it cannot be written.
    """
    page = (
        page_environment()
        .get_template("bench.html")
        .render(
            title=f"{found.benchmark}, {found.track} track",
            subtitle=_subtitle(found),
            bench=found,
            clouds=[draw_cloud(cloud, found.truth_percent, f"cloud-{cloud.seed}") for cloud in found.clouds],
            orders=_orders(found),
            strategies=[(row, spent_on(row)) for row in found.strategies],
            others=other_columns(found),
            blends=[(blend_name(blend), blend.regret) for blend in found.blends],
            first=found.first,
            said=said,
        )
    )
    return write_whole(path, page.encode())


def draw_cloud(cloud: Cloud, truth: Sequence[float], slug: str) -> Markup:
    """A dot for every network that was scored: its true accuracy against its loss with a seed's supernet.

    The generator's answers are marked.

    Source: SGNAS Fig. 5, which has validation accuracy in place of the loss.
    """
    least = float(np.percentile(truth, _LEFT_OUT))
    dots = [(t, loss) for t, loss in zip(truth, cloud.loss, strict=True) if loss is not None and t >= least]
    answers = [(t, loss) for t, loss in cloud.generated if loss is not None and t >= least]
    highest = float(np.percentile([loss for _, loss in dots], 100 - _LEFT_OUT)) if dots else 1.0
    x = fit((t for t, _ in [*dots, *answers]), (_LEFT, _RIGHT), padding=0.02)
    # Low losses at the top, so that what the supernet finds good is up.
    y = fit((min(loss, highest) for _, loss in [*dots, *answers]), (_TOP, _BOTTOM), padding=0.02)
    inside = [(x(t), y(min(loss, highest))) for t, loss in dots]
    left_out = len(truth) - len(dots)
    return svg.picture(
        slug,
        _WIDTH,
        _HEIGHT,
        f"Seed {cloud.seed}: supernet loss against true accuracy",
        f"{len(dots)} networks; {left_out} of the lowest true accuracy are left out, and losses above {highest:.3g} "
        f"stand at the lower edge. {len(answers)} answers of the generator are marked.",
        svg.grid(x, y),
        svg.text(0, _TOP - 14, f"seed {cloud.seed}: validation loss with the supernet's weights (nats)", "axis-title"),
        svg.foot(x, _BOTTOM, "true test top-1 when trained alone (%)"),
        svg.points(inside, "cloud"),
        *(
            svg.dot(x(t), y(min(loss, highest)), 4.0, "generated", f"an answer: {t:.2f}% in truth, loss {loss:.3f}")
            for t, loss in answers
        ),
    )


def said(found: Figure, decimals: int = 3) -> str:
    """A mean with its standard error, as the tables have it."""
    if found.mean is None:
        return "–"
    error = "" if found.error is None else f" ± {found.error:.{decimals}f}"
    return f"{found.mean:.{decimals}f}{error}".replace("-", "−")


def ordered_by(found: Bench) -> list[tuple[str, OrderFigures]]:
    """What orders the networks, in words, and how well: scores, blends, floors and the ceiling."""
    return [
        *((f"supernet, {'top-1' if name == 'top1' else name}", order) for name, order in found.order.items()),
        *((blend_name(blend), blend.order) for blend in found.blends),
        *((f"floor: {name}", order) for name, order in found.floors.items()),
        *([("ceiling: one training", found.ceiling)] if found.ceiling else []),
    ]


def blend_name(blend: BlendFigures) -> str:
    """What a blend averages, in words, with the weights of the seeds."""
    weights = ", ".join(dict.fromkeys(f"{weight:.2g}" for weight in blend.weights))
    return f"loss rank with {blend.floor}, weight {weights}"


def _orders(found: Bench) -> list[tuple[str, list[str]]]:
    return [(name, [said(getattr(order, key)) for key in FIGURES]) for name, order in ordered_by(found)]


def spent_on(row: StrategyWorth) -> tuple[str, str, str, str]:
    """What a strategy has spent, as tables write it: networks judged, images, MACs, time; empty where it is nothing."""
    spent = row.spent
    if spent is None:
        return "", "", "", ""
    return f"{spent.evaluations:,.0f}", figure(spent.images), figure(spent.macs), duration(spent.seconds)


def other_columns(found: Bench) -> tuple[str, ...]:
    """The columns of accuracies that the table has besides the truth, of other splits and data sets."""
    return tuple(found.strategies[0].others_percent) if found.strategies else ()


def scored_in_words(found: Bench) -> str:
    """Which networks have been scored, where it is not all."""
    return "" if found.scored == found.networks else f", of which {found.scored:,} drawn at random are scored"


def _subtitle(found: Bench) -> list[str]:
    images = found.images
    return [
        f"{len(found.seeds)} seed{'' if len(found.seeds) == 1 else 's'}",
        f"{found.networks:,} distinct networks{scored_in_words(found)}",
        f"{images['train']:,} training images",
        f"{images['validation']:,} validation images",
        f"a supernet trains for {duration(found.training_seconds.mean or 0)}",
    ]
