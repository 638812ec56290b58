"""How well the generator's view of a path, a mixture with one-hot rows, orders paths as the evaluator does.

Kendall's tau between the frozen supernet's cross-entropy, by running and by batch statistics, and the loss after
recalibrating the norms, over random architectures of a run. Run: python benchmarks/estimator.py [RUN]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import kendalltau
from torch.nn import functional as F

from anybudget.runs.run import Run
from fashion import ROOT

ARCHITECTURES = 100


def main() -> None:
    run = Run.open(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "runs" / "demo")
    rng = np.random.default_rng(1)
    architectures = [run.space.sample(rng) for _ in range(ARCHITECTURES)]
    evaluated = [run.evaluator.score(architecture).loss for architecture in architectures]
    validation = run.data.validation.subset(torch.arange(len(run.data.validation)))
    labels = validation.labels
    images = run.data.normalise(validation.images).contiguous(memory_format=torch.channels_last)
    table = Table("statistics", "mean cross-entropy", "Kendall tau with the evaluator's loss")
    table.add_row("recalibrated (the evaluator)", f"{np.mean(evaluated):.3f}", "1")
    widest = max(len(decision.choices) for decision in run.space.decisions)
    for name, training in (("running", False), ("batch, in the shadow norms and the head", True)):
        relaxed = run.supernet.relaxed().train(training)
        with torch.no_grad():
            losses = [
                float(F.cross_entropy(relaxed(images, F.one_hot(torch.tensor(a.choices), widest).float()), labels))
                for a in architectures
            ]
        table.add_row(name, f"{np.mean(losses):.3f}", f"{kendalltau(losses, evaluated).statistic:.2f}")
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
