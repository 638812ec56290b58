"""Balanced accuracy and the largest class's share: beside top-1 wherever networks are measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from anybudget.cli.streams import out
from anybudget.cli.tables import print_candidates
from anybudget.data import DataSplits, ImageSet, largest_class_percent, load_splits
from anybudget.evaluation.evaluator import Evaluator, evaluate
from anybudget.evaluation.metrics import Tally, balanced_accuracy_percent
from anybudget.evaluation.ranking.paths import rank_paths
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.nets import UnifiedSupernet
from anybudget.storage.journal import Journal
from anybudget.storage.records import Measured, checked


def test_answering_with_the_largest_class_is_worth_its_share_and_no_more() -> None:
    labels = torch.tensor([0] * 97 + [1] * 3)
    assert largest_class_percent(labels) == 97.0
    for images, hits, percent in (([97, 3], [97, 0], 50.0), ([1, 4, 0], [0, 3, 0], 37.5)):  # no image of class 2
        assert balanced_accuracy_percent(Tally(np.array(images), np.array(hits), np.array(hits))) == percent


class _AlwaysFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[1.0, 0.0, 0.0]]).expand(len(images), 3)


def test_a_network_that_always_answers_one_class_is_seen_through(data: DataSplits) -> None:
    labels = torch.tensor([0] * 8 + [1, 2])
    images = ImageSet(torch.zeros(10, 1, 8, 8, dtype=torch.uint8), labels)
    score = evaluate(_AlwaysFirst(), images, data, batch_size=3)
    assert score.top1_percent == pytest.approx(80.0)
    assert score.balanced_accuracy_percent == pytest.approx(100 / 3)


def uneven(path: Path) -> DataSplits:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [80, 30, 10])
    np.savez(path, x=rng.integers(0, 256, (120, 8, 8), dtype=np.uint8), y=labels)
    return load_splits(str(path), seed=0, validation_fraction=0.3)


def test_scores_of_every_kind_agree_on_uneven_classes(tmp_path: Path, supernet: UnifiedSupernet) -> None:
    data = uneven(tmp_path / "d.npz")
    evaluator = Evaluator(supernet, data, EvaluatorSettings(calibration_images=16, batch_size=7))
    architectures = [supernet.space.sample(np.random.default_rng(seed)) for seed in range(2)]
    scores = evaluator.scores(architectures)
    correct = evaluator.per_image(architectures).correct
    labels = data.validation.labels.numpy()
    for score, right in zip(scores, correct, strict=True):
        recalls = [right[labels == label].mean() for label in range(3)]
        assert score.balanced_accuracy_percent == pytest.approx(100 * np.mean(recalls))
    assert evaluator.largest_class_percent == pytest.approx(100 * 24 / 36)
    ranked = rank_paths(evaluator, data, architectures, [])
    for architecture, score in zip(architectures, scores, strict=True):
        assert ranked.scores[architecture].balanced_accuracy_percent == pytest.approx(score.balanced_accuracy_percent)


def test_a_journal_that_lacks_a_figure_is_evaluated_again(
    tmp_path: Path, supernet: UnifiedSupernet, data: DataSplits
) -> None:
    architecture = supernet.space.sample(np.random.default_rng(0))
    old = Journal(tmp_path / "old.journal", {})
    old.add([(architecture.choices, {"top1_percent": 1.0, "loss": 2.0, "seconds": 3.0})])
    again = Journal(tmp_path / "old.journal", {})
    score = Evaluator(supernet, data, EvaluatorSettings(calibration_images=16), journal=again).score(architecture)
    assert score == Evaluator(supernet, data, EvaluatorSettings(calibration_images=16)).score(architecture)
    kept = Journal(tmp_path / "old.journal", {}).entries[architecture.choices]
    assert kept["balanced_accuracy_percent"] == score.balanced_accuracy_percent


ROW = {
    "budgets": {"macs": 1e6},
    "architecture": {"space": "unified", "choices": [0]},
    "costs": {"macs": 9e5, "conv_macs": 9e5, "params": 1e3},
    "slack": {"macs": 1e5},
    "supernet_top1_percent": 96.77,
}
MEASURED = {"supernet_balanced_accuracy_percent": 51.25, "validation_largest_class_percent": 96.5}


def test_tables_show_balanced_accuracy_and_the_largest_class() -> None:
    with out.console.capture() as capture:
        print_candidates([{**ROW, **MEASURED}])
    shown = capture.get()
    assert "51.25%" in shown
    assert "always answering with the largest class gives 96.50% top-1 on validation images" in shown
    with out.console.capture() as capture:
        print_candidates([ROW])  # from a run before these were measured
    assert "96.77%" in capture.get()


def test_runs_from_before_it_was_measured_are_still_read() -> None:
    assert checked(json.loads(json.dumps(ROW)), Measured, "x").supernet_balanced_accuracy_percent is None
    assert checked({**ROW, **MEASURED}, Measured, "x").supernet_balanced_accuracy_percent == 51.25


def test_every_file_of_a_run_holds_it(prepared: Path) -> None:
    def lines(name: str) -> list[dict[str, float]]:
        return [json.loads(line) for line in (prepared / "run" / name).read_text("utf-8").splitlines()]

    for row in lines("candidates.jsonl"):
        assert 0 <= row["supernet_balanced_accuracy_percent"] <= 100
        assert row["validation_largest_class_percent"] == pytest.approx(100 / 3)
    assert all("supernet_balanced_accuracy_percent" in row for row in lines("random.jsonl"))
    (result,) = [json.loads(path.read_text("utf-8")) for path in (prepared / "run" / "retrain").glob("*/result.json")]
    for split in ("validation", "test"):  # even classes, so that it is top-1
        assert result[f"{split}_balanced_accuracy_percent"] == pytest.approx(result[f"{split}_top1_percent"])
        assert result[f"{split}_largest_class_percent"] == pytest.approx(100 / 3)
    page = (prepared / "run" / "report.html").read_text("utf-8")
    assert "Test balanced<br>accuracy %" in page
    assert "Always answering with the largest class would give 33.33 % top-1 on validation images" in page
