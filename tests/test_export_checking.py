"""What exported forms are held to: how far answers may differ from PyTorch's, and intervals of accuracies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anybudget.errors import RunError
from anybudget.export.checking import Reference, require_equal
from anybudget.export.subject import Subject, interval
from anybudget.storage.records import Checked, Export
from exported import FACTS, network_of


def test_rounding_to_a_grid_may_flip_few_images() -> None:
    def checked(beyond: int) -> Checked:
        return Checked(
            images=200,
            images_of="test",
            largest_difference=0.5,
            largest_logit=10,
            beyond_rounding=beyond,
            equal_answers=200,
        )

    record = Export.model_construct()
    for name, most in (("mbconv", 0), ("resnet-bits", 2)):
        subject = Subject(*network_of(name), FACTS, record)
        require_equal(checked(most), "onnx", subject)
        with pytest.raises(RunError, match="nothing is written"):
            require_equal(checked(most + 1), "onnx", subject)


def test_what_is_not_finite_is_no_match() -> None:
    reference = Reference(torch.zeros(2, 1, 1, 1, dtype=torch.uint8), np.array([[1, 2], [3, 4]], np.float32), "test")
    with pytest.raises(RunError, match="not finite"):
        reference.compared_logits(np.array([[1, np.nan], [3, 4]], np.float32))


def test_intervals_hold_as_often_as_they_say() -> None:
    """Of repeated measurements of a known accuracy 95% have it in their interval."""
    rng = np.random.default_rng(0)
    for share, images in ((0.8, 200), (0.97, 100), (0.5, 50)):
        found = [interval(int(right), images) for right in rng.binomial(images, share, 2000)]
        kept = np.mean([one.low_percent <= 100 * share <= one.high_percent for one in found])
        assert 0.93 <= kept <= 0.975
    assert interval(0, 10).low_percent == 0
    assert interval(10, 10).high_percent == pytest.approx(100)
