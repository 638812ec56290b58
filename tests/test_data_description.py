"""What loaded data says of itself: class names in the order of their labels, and how stored images were prepared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anybudget.data import load_splits
from anybudget.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 6, 8), dtype=np.uint8)
LABELS = np.arange(12) % 3


def test_names_in_an_archive_are_kept_in_the_order_of_the_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=IMAGES, y=LABELS, classes=["zebra", "ant", "cat"])
    loaded = load_splits(str(tmp_path / "d.npz"), seed=0)
    assert loaded.class_names == ("zebra", "ant", "cat")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a", "b"], "has 2 class names, but the labels in"),
        (["a", "b", "a"], "classes holds the name 'a' more than once"),
        ([1, 2, 3], "classes has dtype int64 and shape [3]"),
        ([["a", "b", "c"]], "and shape [1, 3]: store the names of the classes as a list of text"),
    ],
)
def test_names_in_an_archive_that_cannot_be_used(tmp_path: Path, names: list[object], said: str) -> None:
    np.savez(tmp_path / "d.npz", x=IMAGES, y=LABELS, classes=np.array(names))
    with pytest.raises(DataError) as caught:
        load_splits(str(tmp_path / "d.npz"), seed=0)
    assert said in str(caught.value)


def test_the_preparation_of_arrays_is_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=IMAGES, y=LABELS)
    plain = load_splits(str(tmp_path / "d.npz"), seed=0).preparation
    assert (plain.channels, plain.height, plain.width, plain.resize) == (1, 6, 8, "none")
    sized = load_splits(str(tmp_path / "d.npz"), seed=0, image_size=4).preparation
    assert sized.to_dict() == {
        "channels": 1,
        "height": 4,
        "width": 4,
        "resize": "shorter side scaled, centre square cut",
        "interpolation": "bilinear, antialiased",
        "value_range": None,
    }


def test_the_names_of_class_folders_and_their_preparation_are_kept(tmp_path: Path) -> None:
    for index, name in enumerate(("b", "a", "c")):
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.new("RGB", (8, 6), (80 * index, number, 0)).save(tmp_path / name / f"{number}.png")
    loaded = load_splits(str(tmp_path), seed=0, image_size=4)
    assert loaded.class_names == ("a", "b", "c")
    prepared = loaded.preparation
    assert (prepared.channels, prepared.height, prepared.width) == (3, 4, 4)
    assert prepared.resize == "shorter side scaled, centre square cut"
