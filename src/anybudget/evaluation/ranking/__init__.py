"""Is the supernet any good: how it orders networks, on few images, against truth, against an untrained one."""

from anybudget.evaluation.ranking.correlation import Agreement, Correlation, against, rank_correlation
from anybudget.evaluation.ranking.paths import (
    CountRow,
    PathRanking,
    batch_losses,
    metrics_of,
    rank_paths,
    sample_paths,
)
from anybudget.evaluation.ranking.run import RankSettings, rank_run, untrained

__all__ = [
    "Agreement",
    "Correlation",
    "CountRow",
    "PathRanking",
    "RankSettings",
    "against",
    "batch_losses",
    "metrics_of",
    "rank_correlation",
    "rank_paths",
    "rank_run",
    "sample_paths",
    "untrained",
]
