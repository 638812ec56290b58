"""Which class is taken for which: counted by hand, kept in the record of a retrained network, shown in the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from anybudget.data import DataSplits, ImageSet
from anybudget.evaluation.confusion import Confusion
from anybudget.evaluation.evaluator import evaluate
from anybudget.report import classes
from anybudget.storage.records import ClassAnswers, Retrained, read_record
from report_pages import RESULT, report, rows, section

LABELS = [0, 0, 0, 0, 1, 1, 1, 2]
ANSWERS = [0, 0, 1, 2, 1, 1, 0, 0]


def counted() -> Confusion:
    confusion = Confusion.empty(4)
    confusion.add(np.array(LABELS[:3]), np.array(ANSWERS[:3]))
    confusion.add(np.array(LABELS[3:]), np.array(ANSWERS[3:]))
    return confusion


def test_the_matrix_and_its_classes_by_hand() -> None:
    assert counted().counts.tolist() == [[2, 1, 1, 0], [1, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    found = counted().by_class(["a", "b", "c", "d"])
    columns = ("name", "images", "recall_percent", "precision_percent", "answers")
    assert [tuple(entry[column] for column in columns) for entry in found] == [
        ("a", 4, 50.0, 50.0, {"a": 2, "b": 1, "c": 1}),
        ("b", 3, 200 / 3, 200 / 3, {"b": 2, "a": 1}),
        ("c", 1, 0.0, 0.0, {"a": 1}),
        ("d", 0, None, None, {}),
    ]


class _Answers(nn.Module):
    """Answers what the first pixel says."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.one_hot(images[:, 0, 0, 0].round().long(), 3).float()


def test_it_agrees_with_the_metrics(data: DataSplits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anybudget.evaluation.evaluator.prepare", lambda batch, *_: batch.float())
    images = torch.tensor(ANSWERS, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous()
    confusion = Confusion.empty(3)
    metrics = evaluate(_Answers(), ImageSet(images, torch.tensor(LABELS)), data, batch_size=3, confusion=confusion)
    assert confusion.counts.tolist() == counted().counts[:3, :3].tolist()
    recalls = [row["recall_percent"] for row in confusion.by_class("abc")]
    assert metrics.balanced_accuracy_percent == pytest.approx(np.mean(recalls))
    assert metrics.top1_percent == pytest.approx(100 * np.trace(confusion.counts) / len(LABELS))


def test_a_retrained_network_keeps_its_answers(finished: Path) -> None:
    (path,) = finished.glob("retrain/*/result.json")
    found = read_record(path, Retrained)
    assert found is not None
    assert [entry.name for entry in found.test_classes] == ["0", "1", "2"]
    assert all(sum(entry.answers.values()) == entry.images for entry in found.test_classes)
    right = sum(entry.answers.get(entry.name, 0) for entry in found.test_classes)
    assert found.test_top1_percent == pytest.approx(100 * right / sum(entry.images for entry in found.test_classes))
    recalls = [entry.recall_percent for entry in found.test_classes]
    assert found.test_balanced_accuracy_percent == pytest.approx(np.mean([r for r in recalls if r is not None]))


def answered(names: list[str], counts: Any) -> tuple[ClassAnswers, ...]:
    return tuple(ClassAnswers(**entry) for entry in Confusion(np.asarray(counts)).by_class(names))


def test_the_page_has_the_worst_first_and_the_matrix_in_order() -> None:
    assert classes.section(()) is None
    found = classes.section(answered(["a", "b", "c", "d"], counted().counts))
    assert found is not None
    assert [(entry.name, mistaken) for entry, mistaken in found["rows"]] == [
        ("c", ("a", 1)), ("a", ("b", 1)), ("b", ("a", 1)), ("d", None)
    ]  # fmt: skip
    assert found["matrix"][0] == [(2, 5), (1, 3), (1, 3), (0, 0)]
    assert found["matrix"][3] == [(0, 0)] * 4
    assert found["confusions"] == [("a", "b", 1), ("a", "c", 1), ("b", "a", 1), ("c", "a", 1)]


def test_many_classes_have_a_list_of_confusions() -> None:
    counts = 10 * np.eye(40, dtype=np.int64)
    counts[7, 3], counts[20, 21] = 4, 9
    found = classes.section(answered([f"class {number}" for number in range(40)], counts))
    assert found is not None
    assert found["matrix"] is None
    assert found["confusions"] == [("class 20", "class 21", 9), ("class 7", "class 3", 4)]


def test_the_report_shows_it(tmp_path: Path) -> None:
    kept = Confusion(counted().counts).by_class(["<b>cat", "dog", "emu", "fox"])
    result = {**RESULT, "test_classes": kept, "test_top5_percent": 99.5}
    page = report(tmp_path, {"retrain/abcdef0123/result.json": json.dumps(result)})
    found = section(page, "retrained")
    assert "99.50" in rows(found)[0]
    assert rows(found, "classes")[0] == ["emu", "1", "0.00", "0.00", "<b>cat (1)"]
    assert rows(found, "confusion") == [
        ["<b>cat", "2", "1", "1", ""],
        ["dog", "1", "2", "", ""],
        ["emu", "1", "", "", ""],
        ["fox", "", "", "", ""],
    ]
