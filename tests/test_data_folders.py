"""Class folders of images: layout, pixel modes, resizing, and images that cannot be decoded."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anybudget.data import (
    FolderSettings,
    load_splits,
)
from anybudget.errors import DataError
from anybudget.recipe import load_recipe
from anybudget.runs.context import RunContext
from anybudget.runtime.progress import SilentProgress
from anybudget.storage.run_folder import RunFolder
from data_sets import (
    COLOUR,
    GREY,
    class_folders,
    cycle,
    fails,
    numbered,
    save_image,
    save_npz,
    splits_of,
)


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "bmp", "webp", "tiff"])
def test_class_folders(tmp_path: Path, suffix: str) -> None:
    loaded = load_splits(str(class_folders(tmp_path, ("dog", "ant", "cat"), suffix=suffix)), seed=0)
    assert loaded.class_names == ("ant", "cat", "dog")
    assert loaded.input_shape == (3, 6, 5)
    assert [len(part) for part in splits_of(loaded)] == [6, 3, 3]
    for part in splits_of(loaded):
        brightness = part.images.float().mean((1, 2, 3))  # dog 0 to 3, ant 100 to 103, cat 200 to 203
        assert part.labels.tolist() == [{0: 2, 1: 0, 2: 1}[int(value + 10) // 100] for value in brightness]


def test_rows_columns_and_channels_keep_their_order(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    pixels = np.arange(90, dtype=np.uint8).reshape(COLOUR)
    for file in root.glob("dog/*"):
        Image.fromarray(pixels).save(file)
    train = load_splits(str(root), seed=0).train
    assert np.array_equal(train.images[train.labels == 1][0], pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("validation", ["val", "valid"])
def test_shipped_parts_are_used(tmp_path: Path, validation: str) -> None:
    for part, value in (("train", 10), (validation, 20), ("test", 30)):
        for name in ("cat", "dog"):
            save_image(tmp_path / part / name / "0.png", value=value - (name == "dog"))
    (tmp_path / "notes").mkdir()
    loaded = load_splits(str(tmp_path), seed=0)
    assert [int(part.images.max()) for part in splits_of(loaded)] == [10, 20, 30]
    assert [len(part) for part in splits_of(loaded)] == [2, 2, 2]


@pytest.mark.parametrize(("shipped", "position"), [("test", 2), ("val", 1)])
def test_a_part_that_is_not_shipped_is_drawn_from_train(tmp_path: Path, shipped: str, position: int) -> None:
    class_folders(tmp_path / "train", count=5)
    class_folders(tmp_path / shipped, count=2)
    sizes = [8, 2, 2]
    sizes[position] = 4
    validation = FolderSettings(val="validation")
    loaded = load_splits(str(tmp_path), seed=0, folders=validation)
    assert [len(part) for part in splits_of(loaded)] == sizes
    for name in ("cat", "dog"):
        for file in sorted((tmp_path / "train" / name).iterdir())[1:]:
            file.unlink()
    drawn = "validation" if shipped == "test" else "test"
    fails(tmp_path, "'cat'", f"needs 2, one each for training, {drawn}:", folders=validation)


def test_classes_named_like_parts_stay_classes(tmp_path: Path) -> None:
    assert load_splits(str(class_folders(tmp_path, ("train", "test", "tram"))), seed=0).class_names[1] == "train"


def test_parts_must_have_the_same_classes(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", ("cat", "dog", "eel"))
    class_folders(tmp_path / "test", ("cat", "dog"))
    fails(tmp_path, str(tmp_path / "test"), "'eel'", "same classes")
    shutil.rmtree(tmp_path / "train" / "eel")
    class_folders(tmp_path / "test", ("fox",))
    fails(tmp_path, str(tmp_path / "train"), "'fox'")


def test_val_and_valid_together_are_ambiguous(tmp_path: Path) -> None:
    for part in ("train", "val", "valid"):
        class_folders(tmp_path / part)
    fails(tmp_path, "both val and valid")


def test_hidden_and_other_files_are_skipped(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    before = load_splits(str(root), seed=0)
    for name in (".DS_Store", "._0.png", "Thumbs.db", "labels.txt", "README", "drawing.eps"):
        (root / "cat" / name).write_bytes(b"not an image")
    (root / ".cache").mkdir()
    (root / "cat" / "more.png").mkdir()
    (root / "README.md").write_text("about")
    after = load_splits(str(root), seed=0)
    assert after.class_names == ("cat", "dog")
    for part, same in zip(splits_of(before), splits_of(after), strict=True):
        assert torch.equal(part.images, same.images)


def test_links_are_followed_and_cannot_loop(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data", ("cat",))
    class_folders(tmp_path / "elsewhere", ("dog",))
    (root / "dog").symlink_to(tmp_path / "elsewhere" / "dog", target_is_directory=True)
    (root / "cat" / "up").symlink_to(root, target_is_directory=True)
    loaded = load_splits(str(root), seed=0)
    assert loaded.class_names == ("cat", "dog")
    assert sum(len(part) for part in splits_of(loaded)) == 8
    (root / "cat" / "self.png").symlink_to(root / "cat" / "self.png")
    fails(root, "self.png", "cannot be decoded")


@pytest.mark.parametrize(
    ("image", "pixel"),
    [
        (Image.new("1", (5, 6), 1), [255]),
        (Image.new("L", (5, 6), 77), [77]),
        (Image.new("LA", (5, 6), (77, 0)), [255]),
        (Image.fromarray(np.full(GREY, 0xABCD, np.uint16)), [255]),
        (Image.new("RGB", (5, 6), (10, 20, 30)), [10, 20, 30]),
        (Image.new("RGB", (5, 6), (10, 20, 30)).quantize(4), [10, 20, 30]),
        (Image.new("L", (5, 6), 77).convert("P"), [77, 77, 77]),
        (Image.new("RGBA", (5, 6), (10, 20, 30, 255)), [10, 20, 30]),
        (Image.new("RGBA", (5, 6), (10, 20, 30, 0)), [255, 255, 255]),
        (Image.new("RGBA", (5, 6), (0, 0, 0, 51)), [204, 204, 204]),
    ],
    ids=["1", "L", "LA clear", "I;16", "RGB", "P", "P grey", "RGBA", "RGBA clear", "RGBA fifth"],
)
def test_pixel_modes(tmp_path: Path, image: Image.Image, pixel: list[int]) -> None:
    bands = len(image.getbands())
    image.putpixel(
        (0, 0), (*([0] * (bands - 1)), 255) if image.mode.endswith("A") else (0,) * bands if bands > 1 else 0
    )
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for index in range(3):
            image.save(tmp_path / name / f"{index}.png")
    loaded = load_splits(str(tmp_path), seed=0)
    assert loaded.input_shape == (len(pixel), 6, 5)
    assert loaded.train.images[:, :, 3, 2].tolist() == [pixel, pixel]


def test_a_transparent_palette_colour_becomes_white(tmp_path: Path) -> None:
    image = Image.new("P", (5, 6), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((0, 0), 0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for index in range(3):
            image.save(tmp_path / name / f"{index}.gif", transparency=0)
    train = load_splits(str(tmp_path), seed=0).train
    assert train.images[0, :, 0, 0].tolist() == [255, 255, 255]
    assert train.images[0, :, 5, 4].tolist() == [40, 50, 60]


def test_exif_orientation_is_honoured(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    upright = np.zeros(COLOUR, np.uint8)
    upright[:3] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to view
    for file in root.glob("dog/*"):
        Image.fromarray(np.rot90(upright)).save(file, exif=exif)
    loaded = load_splits(str(root), seed=0)
    assert np.array_equal(loaded.train.images[loaded.train.labels == 1][0], upright.transpose(2, 0, 1))


def test_image_size_scales_the_shorter_side_and_cuts_the_centre(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 200  # the centre square
    for file in root.glob("dog/*"):
        Image.fromarray(wide).save(file)
    fails(root, "24×8 pixels", "5×6", ".png", "set the image size")
    loaded = load_splits(str(root), seed=0, image_size=4)
    assert loaded.input_shape == (3, 4, 4)
    # Half the size: a triangle filter with the weights 1/8, 3/8, 3/8 and 1/8, of which one falls on black at each side.
    assert loaded.train.images[loaded.train.labels == 1][0, 2].tolist() == [[175, 200, 200, 175]] * 4


def test_folder_images_are_scaled_with_antialiasing(tmp_path: Path) -> None:
    stripes = np.zeros((32, 32), np.uint8)
    stripes[:, ::2] = 255
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for index in range(3):
            Image.fromarray(stripes).save(tmp_path / name / f"{index}.png")
    train = load_splits(str(tmp_path), seed=0, image_size=4).train
    assert (train.images.float() - 127.5).abs().max() < 10


def test_grey_and_colour_do_not_mix(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    save_image(root / "dog" / "2.png", GREY)
    save_image(root / "dog" / "3.png", GREY)
    first, outlier = str(root / "cat" / "0.png"), str(root / "dog" / "2.png")
    fails(root, f"2 grey (such as {outlier}, mode L)", f"in colour (such as {first}, mode RGB)", "convert all")


def test_images_that_cannot_be_decoded_are_named(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    broken = root / "dog" / "3.png"
    content = save_image(broken, (40, 40, 3)).read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    fails(root, str(broken), "cannot be decoded", image_size=5)
    broken.write_bytes(b"")
    fails(root, str(broken), "cannot be decoded")
    broken.unlink()
    broken.symlink_to(root / "gone.png")
    fails(root, str(broken), "cannot be decoded")
    broken.unlink()
    Image.fromarray(np.ones(GREY, np.float32)).save(root / "dog" / "3.tif")
    fails(root, "1 grey of more than 8 bits", "3.tif", "mode F")


def test_a_truncated_jpeg_is_named(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    broken = save_image(root / "cat" / "9.jpg", (40, 40, 3))
    broken.write_bytes(broken.read_bytes()[:-200])
    fails(root, str(broken), "truncated", image_size=5)


def spoil(*files: Path) -> None:
    """Damage images: one cannot even be recognised, the others break off, which is noticed only on decoding."""
    for number, file in enumerate(files):
        content = save_image(file, (40, 40, 3)).read_bytes()
        file.write_bytes(content[: len(content) // 2] if number else b"")


@pytest.mark.parametrize("allowed", [2, 3])
@pytest.mark.parametrize("shipped", ["", "test"])
def test_unreadable_images_are_left_out_as_if_they_were_not_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, shipped: str, allowed: int
) -> None:
    root = class_folders(tmp_path / "data" / ("train" if shipped else ""), count=9)
    if shipped:
        class_folders(tmp_path / "data" / "test", count=2)
    broken = [root / "dog" / "1.png", root / "cat" / "0.png"]
    for file in broken:
        file.unlink()
    without = load_splits(str(tmp_path / "data"), seed=3, image_size=5)
    assert not caplog.records
    spoil(*broken)
    loaded = load_splits(str(tmp_path / "data"), seed=3, image_size=5, skip_unreadable=allowed)
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 2
    for message, file in zip(said, broken, strict=True):
        assert message.startswith(f"{file}: cannot be decoded as an image (")
        assert message.endswith("; left out")
    assert loaded.mean == without.mean
    for part, same in zip(splits_of(loaded), splits_of(without), strict=True):
        assert torch.equal(part.images, same.images)
        assert torch.equal(part.labels, same.labels)


def test_more_unreadable_images_than_may_be_left_out(tmp_path: Path) -> None:
    root = class_folders(tmp_path, count=9)
    broken = [root / "dog" / "1.png", root / "cat" / "0.png", root / "cat" / "4.png"]
    spoil(*broken)
    fails(root, f"{broken[0]}: cannot be decoded", "or set data.skip_unreadable", image_size=5)
    fails(
        root,
        f"{broken[2]}: cannot be decoded",
        "and 2 other image(s) have been left out already",
        "or raise data.skip_unreadable",
        image_size=5,
        skip_unreadable=2,
    )
    assert sum(map(len, splits_of(load_splits(str(root), seed=0, image_size=5, skip_unreadable=3)))) == 15
    fails(root, "skip_unreadable -1", skip_unreadable=-1)


@pytest.mark.parametrize("part", ["", "train", "test"])
def test_a_class_must_keep_an_image(tmp_path: Path, part: str) -> None:
    for name in ("train", "test") if part else ("",):
        class_folders(tmp_path / name)
    folder = tmp_path / part / "dog"
    spoil(*folder.iterdir())
    fails(tmp_path, f"{folder}: none of the 4 image(s) of this class", image_size=5, skip_unreadable=99)
    spoil(*tmp_path.rglob("*.png"))
    fails(tmp_path, "none of the 4 image(s) of this class can be decoded", image_size=5, skip_unreadable=99)


def test_too_few_images_after_some_are_left_out(tmp_path: Path) -> None:
    spoil(*(class_folders(tmp_path) / "dog" / f"{index}.png" for index in (1, 3)))
    fails(tmp_path, "class 'dog' has 2 training image(s) but needs 3", image_size=5, skip_unreadable=2)


def test_only_what_cannot_be_decoded_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = class_folders(tmp_path)
    odd = save_image(root / "dog" / "0.png", GREY)
    fails(root, f"1 grey (such as {odd}", skip_unreadable=9)
    save_image(odd, (9, 9, 3))
    fails(root, f"{odd}: is 9×9 pixels", skip_unreadable=9)
    save_image(odd)

    def failing(*_: Any, **_options: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("anybudget.data.images.ImageOps.exif_transpose", failing)
    fails(root, f"{root / 'cat' / '0.png'}: cannot be decoded", "Input/output error", "try again", skip_unreadable=9)


def test_other_sources_have_nothing_to_leave_out(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "d.npz", x=numbered(30), y=cycle(30))
    first, second = load_splits(path, seed=0), load_splits(path, seed=0, skip_unreadable=5)
    assert torch.equal(first.train.images, second.train.images)
    (tmp_path / "d.npz").write_bytes(Path(path).read_bytes()[:-30])
    fails(path, "not an .npz archive", skip_unreadable=5)


def test_the_recipe_says_how_many_may_be_left_out(recipe_file: Path, tmp_path: Path) -> None:
    root = class_folders(tmp_path / "images", ("a", "b", "c"))
    spoil(root / "b" / "0.png")
    settings = [f"data.source={str(root)!r}", "space.input_channels=3"]
    with pytest.raises(DataError, match=r"data\.skip_unreadable"):
        _ = RunContext(RunFolder(tmp_path / "run"), load_recipe(recipe_file, settings), SilentProgress()).data
    recipe = load_recipe(recipe_file, [*settings, "data.skip_unreadable=1"])
    assert sum(map(len, splits_of(RunContext(RunFolder(tmp_path / "run"), recipe, SilentProgress()).data))) == 11


@pytest.mark.parametrize("limit", [150, 50], ids=["Pillow warns", "Pillow refuses"])
def test_decompression_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    root = class_folders(tmp_path)
    bomb = save_image(root / "dog" / "bomb.png", (16, 16, 3))
    monkeypatch.setattr("anybudget.data.images.MAX_PIXELS", limit)
    fails(root, str(bomb), "decompression bomb", image_size=5)


def test_folders_without_usable_classes(tmp_path: Path) -> None:
    fails(tmp_path, str(tmp_path), "not recognised as a data set", "one folder of images per class")
    class_folders(tmp_path, ("cat",))
    fails(tmp_path, "only one class", "'cat'")
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "picture.heic").write_bytes(b"")
    fails(tmp_path, str(tmp_path / "dog"), "holds no image among 1 entries")


def test_a_train_folder_alone_is_answered_with_its_path(tmp_path: Path) -> None:
    class_folders(tmp_path / "train")
    fails(tmp_path, str(tmp_path / "train"), "'cat'", f"give {tmp_path / 'train'} as the data set")


def test_a_class_with_too_few_images_is_named(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    for index in (2, 3):
        (root / "dog" / f"{index}.png").unlink()
    fails(root, "class 'dog' has 2", "needs 3")
    save_image(root / "dog" / "2.png")
    assert [len(part) for part in splits_of(load_splits(str(root), seed=0))] == [3, 2, 2]
