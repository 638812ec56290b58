"""What `anybudget data` says of a data set: counts, sizes, copies, broken files, refusals, and the contact sheet."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anybudget.data import DataSettings, FolderSettings, load_splits
from anybudget.data.overview import look_at, overview_of, write_sheet
from anybudget.data.overview.sheet import GAP, LABEL, TILE
from anybudget.data.packing import pack
from anybudget.errors import AnyBudgetError, DataError
from conftest import call
from data_sets import class_folders, cycle, numbered, save_image, save_npz


def image(path: Path, value: int, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> Path:
    """A file of one colour, of a size (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, (value,) * 3 if mode == "RGB" else value).save(path)
    return path


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    """A folder with something of everything."""
    root = tmp_path / "messy"
    for number in range(6):
        image(root / "train" / "cat" / f"{number}.png", 10 + number, (6 + number, 4))
    for number in range(4):
        image(root / "train" / "dog" / f"{number}.jpg", 100 + 20 * number, (20, 30))
    image(root / "val" / "cat" / "a.png", 200)
    image(root / "val" / "dog" / "b.png", 201)
    image(root / "test" / "cat" / "copy.bmp", 10, (6, 4))  # train/cat/0 in another format
    image(root / "test" / "dog" / "c.png", 202)
    image(root / "test" / "dog" / "d.png", 203, mode="L")
    image(root / "train" / "dog" / "twin.png", 13, (9, 4))  # train/cat/3, labelled otherwise
    (root / "train" / "cat" / "broken.png").write_bytes((root / "train" / "cat" / "1.png").read_bytes()[:40])
    (root / "train" / "cat" / "notes.txt").write_text("x")
    image(root / "train" / "cat" / "more" / "1.png", 3)
    image(root / "train" / "loose.png", 3)
    (root / "train" / ".hidden").write_text("x")
    return root


def test_every_figure_by_hand(messy: Path) -> None:
    shown = overview_of(look_at(str(messy)))
    assert (shown.kind, shown.images, shown.classes, shown.drawn) == ("folder", 16, ("cat", "dog"), ())
    assert shown.counts == {
        "train": {"cat": 6, "dog": 5}, "validation": {"cat": 1, "dog": 1}, "test": {"cat": 1, "dog": 2}
    }  # fmt: skip
    assert (shown.largest_class, shown.largest_class_percent, shown.imbalance) == ("cat", 50.0, 1.0)
    # Twelve have a shorter side of 4; by width six of 6, then 7, 8, 9, 9, 10, 11. The ninth of 16 is the median.
    assert shown.sizes == {"smallest": (6, 4), "median": (9, 4), "largest": (20, 30)}
    assert shown.modes == {"RGB": 15, "L": 1}
    assert shown.formats == {"PNG": 11, "JPEG": 4, "BMP": 1}
    assert shown.channels == 3
    copies = shown.duplicates
    assert (copies.copies, copies.across, copies.conflicting) == (2, 1, 1)
    assert copies.examples == (("train/cat/3.png", "train/dog/twin.png"), ("train/cat/0.png", "test/cat/copy.bmp"))
    assert [name for name, _ in shown.broken] == ["train/cat/broken.png"]
    assert dict(shown.ignored) == {
        "train/cat/notes.txt": "has no name of an image that Pillow opens",
        "train/cat/more": "is a folder inside a class folder",
        "train/loose.png": "lies outside of class folders",
    }
    assert shown.memory_bytes[32] == 16 * 3 * 32 * 32
    (refused,) = shown.refused
    assert refused.startswith("train/cat/broken.png: cannot be decoded")
    assert "data.skip_unreadable = 1" in refused
    assert any(said.startswith("1 image(s) have the same pixels as one in another split") for said in shown.warnings)
    assert any("1 picture(s) are there with more than one class" in said for said in shown.warnings)


def test_the_splits_are_those_that_a_run_has(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data", ("a", "b", "c"), count=9)
    for seed in (0, 3):
        found = look_at(str(root), DataSettings(seed=seed, validation_fraction=0.25))
        assert found.drawn == ("test", "validation")
        data = load_splits(str(root), seed=seed, validation_fraction=0.25)
        for name, split in (("train", data.train), ("validation", data.validation), ("test", data.test())):
            there = [place for place, item in enumerate(found.items) if item.split == name]
            assert [found.items[place].label for place in there] == split.labels.tolist()
            assert found.open_image is not None
            for place, pixels in zip(there, split.read(np_range(len(there))), strict=True):
                assert np.array_equal(np.asarray(found.open_image(place)), pixels.permute(1, 2, 0).numpy())


def np_range(count: int) -> Any:
    import torch

    return torch.arange(count)


def _class_missing(root: Path) -> None:
    class_folders(root / "train", ("a", "b"))
    class_folders(root / "test", ("a",))


def _empty_class(root: Path) -> None:
    class_folders(root)
    (root / "empty").mkdir()


def _too_few(root: Path) -> None:
    class_folders(root, ("a", "b"))
    class_folders(root, ("c",), count=2)


def _one_class(root: Path) -> None:
    class_folders(root, ("a",))


def _deep_and_colour(root: Path) -> None:
    class_folders(root)
    Image.fromarray(np.full((6, 5), 40000, np.uint16)).save(root / "cat" / "deep.png")


def _all_broken(root: Path) -> None:
    class_folders(root)
    for file in (root / "cat").iterdir():
        file.write_bytes(b"no image")


@pytest.mark.parametrize(
    "build", [_class_missing, _empty_class, _too_few, _one_class, _deep_and_colour, _all_broken, class_folders]
)
def test_it_refuses_what_a_run_refuses(build: Callable[[Path], object], tmp_path: Path) -> None:
    build(tmp_path / "data")
    try:
        load_splits(str(tmp_path / "data"), seed=0, image_size=8, folders=FolderSettings(channels=3))
        refuses = False
    except DataError:
        refuses = True
    assert refuses == (build is not class_folders)
    assert bool(overview_of(look_at(str(tmp_path / "data"))).refused) == refuses


def test_arrays_and_registered_sources(tmp_path: Path) -> None:
    images = numbered(60, 8, 8)
    images[59] = images[0]
    path = save_npz(tmp_path / "d.npz", x=images, y=cycle(60), xt=images[:6], yt=cycle(6))
    shown = overview_of(look_at(path))
    assert (shown.kind, shown.images, shown.channels, shown.sizes["median"]) == ("npz", 66, 1, (8, 8))
    assert {name: sum(counts.values()) for name, counts in shown.counts.items()} == {
        "train": 51, "validation": 9, "test": 6
    }  # fmt: skip
    # Six test images are training or validation images, and one image of class 2 is one of class 0.
    assert (shown.duplicates.copies, shown.duplicates.across, shown.duplicates.conflicting) == (7, 7, 1)
    assert not shown.refused
    with pytest.raises(DataError, match="labels must be integers"):
        look_at(save_npz(tmp_path / "bad.npz", x=images, y=np.ones(60)))


def test_the_contact_sheet(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for number in range(12):
        image(root / "dark" / f"{number:02d}.png", 10 * number, (TILE, TILE))
    image(root / "light" / "0.png", 250, (TILE, TILE // 2))
    found = look_at(str(root))
    write_sheet(found, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet)
    row = LABEL + TILE + GAP
    assert pixels.shape == (2 * row, GAP + 8 * (TILE + GAP), 3)
    middles = [int(pixels[LABEL + TILE // 2, GAP + column * (TILE + GAP) + TILE // 2, 0]) for column in range(8)]
    assert middles == [0, 10, 30, 40, 60, 70, 90, 110]  # from the first to the last
    assert int(pixels[row + LABEL + TILE // 2, GAP + TILE // 2, 0]) == 250
    assert int(pixels[row + LABEL + 2, GAP + TILE // 2, 0]) == 255  # beside an image that is not square
    assert pixels[:LABEL].min() < 100  # the name of the class
    with pytest.raises(DataError, match="is a PNG"):
        write_sheet(found, tmp_path / "sheet.gif")


def test_the_command(messy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "data", messy, "--sheet", tmp_path / "s.png", "--size", "7")
    assert code == 2
    assert (tmp_path / "s.png").is_file()
    for said in (
        "cat",
        "50.00%",
        "at 7 pixels",
        "not read: train/cat/notes.txt",
        "warning: 1 image(s)",
        "refused: train/cat/bro",
    ):
        assert said in out
    assert "look at images" in err
    code, out, _ = call(capsys, "data", "--json", messy)
    assert code == 2
    assert json.loads(out)["counts"]["test"] == {"cat": 1, "dog": 2}
    clean = class_folders(tmp_path / "clean")
    assert call(capsys, "data", clean)[0] == 0


@pytest.mark.parametrize("arguments", [["/nowhere"], ["--sheet", "x.png"], ["--size", "0", "."], ["--no-such-flag"]])
def test_mistakes_end_with_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "data", *arguments)
    assert code == 2
    assert err


def test_no_argument_shows_help(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, err = call(capsys, "data")
    assert "PATH" in out + err


def test_a_sheet_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    found = look_at(str(class_folders(tmp_path / "data")))
    (tmp_path / "file").write_text("")
    with pytest.raises(AnyBudgetError, match=r"sheet\.png"):
        write_sheet(found, tmp_path / "file" / "sheet.png")


def test_a_large_image_and_a_grey_one(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data")
    save_image(root / "cat" / "grey.png", (8, 9))
    shown = overview_of(look_at(str(root)))
    assert shown.modes == {"RGB": 8, "L": 1}
    assert any("several kinds" in said for said in shown.warnings)


def test_shards_look_like_the_folder_they_were_packed_from(messy: Path, tmp_path: Path) -> None:
    (messy / "train" / "cat" / "broken.png").unlink()
    pack(messy, tmp_path / "packed")
    folder, shards = (overview_of(look_at(str(path))) for path in (messy, tmp_path / "packed"))
    assert shards.kind == "shards"
    for name in ("images", "classes", "counts", "sizes", "modes", "formats", "duplicates", "refused"):
        assert getattr(shards, name) == getattr(folder, name), name
