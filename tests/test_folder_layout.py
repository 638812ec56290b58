"""How folders are read: which folder is which part, and that nothing is left aside silently."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from anybudget.data import DataSplits, FolderSettings, ImageSet, load_splits
from anybudget.errors import ConfigError, DataError
from anybudget.recipe import load_recipe
from anybudget.runs.context import RunContext
from anybudget.runtime.progress import SilentProgress
from anybudget.storage.run_folder import RunFolder


def picture(file: Path, value: int, mode: str = "L") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (4, 4), value if mode == "L" else (value, 0, 0)).save(file)
    return file


def part(folder: Path, value: int, count: int = 4, classes: str = "ab") -> Path:
    """Class folders in which every pixel of an image is 100 + `value` or one more."""
    for offset, name in enumerate(classes):
        for index in range(count):
            picture(folder / name / f"{index}.png", 100 + value + offset)
    return folder


def values(images: ImageSet) -> set[int]:
    return {int(value - 100) // 10 * 10 for value in images.images.unique()}


def said(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(record.getMessage() for record in caplog.records)


def loaded_parts(loaded: DataSplits) -> list[set[int]]:
    return [values(images) for images in (loaded.train, loaded.validation, loaded.test())]


@pytest.mark.parametrize("val", ["val", "Val", "valid", "VALIDATION"])
def test_val_stays_validation_unless_it_is_to_be_the_test(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, val: str
) -> None:
    part(tmp_path / "train", 10)
    part(tmp_path / val, 20)
    loaded = load_splits(str(tmp_path), seed=0)
    assert loaded_parts(loaded) == [{10}, {20}, {10}]
    assert f"test images are drawn from train; {val} stays the validation split" in said(caplog)
    assert 'data.val = "test"' in said(caplog)
    caplog.clear()
    turned = load_splits(str(tmp_path), seed=0, folders=FolderSettings(val="test"))
    assert loaded_parts(turned) == [{10}, {10}, {20}]
    assert f"{val} is the test split, as data.val says, and validation images are drawn" in said(caplog)


@pytest.mark.parametrize("names", [("Train", "Val", "TEST"), ("training", "validation", "testing")])
def test_three_parts_stay_what_they_are_called(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, names: tuple[str, str, str]
) -> None:
    for name, value in zip(names, (10, 20, 30), strict=True):
        part(tmp_path / name, value)
    assert loaded_parts(load_splits(str(tmp_path), seed=0)) == [{10}, {20}, {30}]
    assert not caplog.records


def test_two_folders_of_the_same_part_are_refused(tmp_path: Path) -> None:
    for name in ("train", "Training", "test"):
        part(tmp_path / name, 10)
    with pytest.raises(DataError, match="holds both Training and train: keep one of them, both mean the train part"):
        load_splits(str(tmp_path), seed=0)


def test_folders_beside_the_parts_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("train", "val", "extra"):
        part(tmp_path / name, 10)
    picture(tmp_path / "test" / "0.png", 0)  # the test images of ImageNet have no labels
    (tmp_path / "empty").mkdir()
    load_splits(str(tmp_path), seed=0)
    assert "not used beside train: 'extra', 'test';" in said(caplog)


def test_files_and_images_that_are_not_read_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    part(tmp_path, 10)
    for index in range(20):
        (tmp_path / "a" / f"{index}.HEIC").write_bytes(b"x")
    (tmp_path / "b" / "notes.txt").write_text("x")
    nested = picture(tmp_path / "b" / "more" / "deep" / "0.png", 0)
    loose = picture(tmp_path / "loose.png", 0)
    load_splits(str(tmp_path), seed=0)
    assert "20 .HEIC, 1 .txt, such as" in said(caplog)
    assert str(tmp_path / "a" / "0.HEIC") in said(caplog)
    assert f"1 image(s) in folders inside class folders, such as {nested}; move them up" in said(caplog)
    assert f"1 image(s) outside of class folders, such as {loose}" in said(caplog)
    assert len(caplog.records) == 3


def test_a_stray_class_folder_is_named_by_its_few_images(recipe_file: Path, tmp_path: Path) -> None:
    root = part(tmp_path / "images", 10, count=8, classes="abc")
    part(root, 50, count=3, classes="z")
    recipe = load_recipe(recipe_file, [f"data.source={str(root)!r}"])
    with pytest.raises(ConfigError, match=r"space.classes=4 .*fewest images are 'z' \(3\), 'a' \(8\)"):
        _ = RunContext(RunFolder(tmp_path / "run"), recipe, SilentProgress()).data


def test_the_recipe_says_what_val_is(recipe_file: Path, tmp_path: Path) -> None:
    for name, value in (("train", 10), ("val", 20)):
        part(tmp_path / "images" / name, value, classes="abc")
    for val, expected in (("test", [{10}, {10}, {20}]), ("validation", [{10}, {20}, {10}])):
        recipe = load_recipe(recipe_file, [f"data.source={str(tmp_path / 'images')!r}", f"data.val={val}"])
        assert loaded_parts(RunContext(RunFolder(tmp_path / "run"), recipe, SilentProgress()).data) == expected


def test_uneven_classes_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    part(tmp_path, 60, count=97, classes="a")
    part(tmp_path, 50, count=3, classes="b")
    load_splits(str(tmp_path), seed=0)
    assert "classes are uneven: 'a' has 98.5% of the training images, 'b' 1.5%" in said(caplog)
