"""Tar files give what the folder gives that they were packed from, and say what is wrong with them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anybudget.data import DataSource, FolderSettings, Reading, TrainingBatches, identify, load_splits
from anybudget.data.overview import look_at
from anybudget.data.packing import pack
from anybudget.errors import DataError
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.testing import check_source
from conftest import RECIPE, call
from data_sets import class_folders, fails
from test_on_disk import Cropped

SIDE = 8


def load(path: Path, keep: str = "disk", readers: int = 0, val: str = "validation", **more: object) -> DataSource:
    settings = FolderSettings(val, reading=Reading(keep, readers))
    return load_splits(str(path), seed=1, image_size=SIDE, folders=settings, **more)


def photographs(root: Path, count: int = 12, side: int = 40) -> Path:
    rng = np.random.default_rng(len(root.name))
    for number in range(count * 2):
        file = root / ("cat", "dög")[number % 2] / f"{number}.v1.{('jpg', 'png')[number % 3 == 0]}"
        file.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        coarse.resize((side, side + number)).save(file)
    return root


def everything(data: DataSource) -> list[torch.Tensor]:
    made = TrainingBatches(data, data.train, 4, 2, by_image=Cropped())
    found = [part for pair in made.epoch(1, torch.device("cpu")) for part in pair]
    for split in (data.train, data.validation, data.test()):
        kept = split.subset(torch.arange(len(split)))
        found += [kept.images, kept.labels]
    return found


@pytest.mark.parametrize("parts", [(), ("train", "val"), ("train", "val", "test")], ids=["one", "two", "three"])
@pytest.mark.parametrize("keep", ["memory", "disk"])
def test_packed_images_are_those_of_the_folder(tmp_path: Path, keep: str, parts: tuple[str, ...]) -> None:
    for part in parts or (".",):
        photographs(tmp_path / "images" / part)
    packed = pack(tmp_path / "images", tmp_path / "packed", shard_bytes=2000)
    assert packed.images == 24 * max(1, len(parts))
    assert packed.shards == len(list((tmp_path / "packed").glob("*.tar"))) > 3
    one, other = load(tmp_path / "images"), load(tmp_path / "packed", keep, 2)
    assert one.class_names == other.class_names == ("cat", "dög")
    assert (one.draw, one.mean, one.std, one.preparation) == (other.draw, other.mean, other.std, other.preparation)
    assert all(map(torch.equal, everything(one), everything(other)))
    assert identify(str(tmp_path / "images")) == identify(str(tmp_path / "packed")) == other.listing()
    check_source(other)


def test_a_run_goes_on_with_packed_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = class_folders(tmp_path / "images", ("a", "b", "c"), 12)
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE.format(source=root).replace("input_channels = 1", "input_channels = 3"))
    run = Run.create(load_recipe(recipe, ["supernet.epochs=1"]), tmp_path / "run")
    run.train_supernet()
    code, out, err = call(capsys, "data", "pack", root, tmp_path / "packed")
    assert code == 0, err
    assert "36 images" in out
    code, _, err = call(capsys, "generator", tmp_path / "run", "--data", tmp_path / "packed")
    assert code == 0, err


def test_images_can_be_made_smaller(tmp_path: Path) -> None:
    root = photographs(tmp_path / "images", side=64)
    pack(root, tmp_path / "packed", side=16)
    (shard,) = (tmp_path / "packed").glob("*.tar")
    with tarfile.open(shard) as archive:
        names = archive.getnames()
        sizes = {Image.open(archive.extractfile(name)).size for name in names if name.endswith("jpg")}
    assert all(min(size) == 16 for size in sizes)
    assert "cat/0.v1.jpg" in names
    assert "cat/0.cls" in names
    small, large = load(tmp_path / "packed"), load(root)
    assert small.draw is not None
    difference = (small.train.read(torch.arange(8)).float() - large.train.read(torch.arange(8)).float()).abs().mean()
    assert 0 < difference < 16  # of 256, after JPEG at 16 pixels and down to 8


def shard(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def picture(value: int) -> bytes:
    held = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (value, 0, 255 - value)).save(held, "PNG")
    return held.getvalue()


def test_shards_of_others_have_their_class_in_a_member_or_a_folder(tmp_path: Path) -> None:
    numbered = {
        f"{n:03d}.{kind}": c for n in range(33) for kind, c in (("png", picture(n)), ("cls", b"%d\n" % (n % 11)))
    }
    shard(tmp_path / "numbers" / "x-000.tar", {**numbered, "000.json": b"{}"})
    data = load(tmp_path / "numbers")
    assert data.class_names == tuple(map(str, range(11)))
    reds = data.train.read(torch.arange(len(data.train)))[:, 0, 0, 0] % 11
    assert torch.equal(reds.long(), data.train.labels)
    (tmp_path / "numbers" / "classes.txt").write_text("".join(f"n{n:02d}\n" for n in range(10, -1, -1)))
    assert load(tmp_path / "numbers").class_names[0] == "n10"
    inside = {f"./{'ab'[n % 2]}/{n}.png": picture(n) for n in range(12)}
    shard(tmp_path / "folders" / "train-0.tar", inside)
    shard(tmp_path / "folders" / "val-0.tar", inside)
    shard(tmp_path / "folders" / "other-0.tar", {})
    data = load(tmp_path / "folders")
    assert (data.class_names, len(data.validation), len(data.test())) == (("a", "b"), 12, 2)
    papers = load(tmp_path / "folders", val="test")
    assert (len(papers.validation), len(papers.test())) == (2, 12)


def test_what_is_wrong_with_shards_is_named(tmp_path: Path) -> None:
    good = {f"{'ab'[n % 2]}/{n}.png": picture(n) for n in range(12)}
    fails(
        shard(tmp_path / "1" / "x.tar", {**good, "13.png": picture(1)}).parent, "x.tar: 13.png: has no class", "13.cls"
    )
    fails(shard(tmp_path / "2" / "x.tar", {"notes.txt": b""}).parent, "hold no image")
    cut = shard(tmp_path / "3" / "x.tar", good)
    cut.write_bytes(cut.read_bytes()[:2000])
    fails(cut.parent, "x.tar", "truncated")
    (tmp_path / "4").mkdir()
    (tmp_path / "4" / "x.tar").write_bytes(b"no tar" * 300)
    fails(tmp_path / "4", "x.tar: no tar file")
    fails(
        shard(tmp_path / "5" / "x.tar", {**good, "a/2.png": b"\x89PNG broken"}).parent,
        "x.tar: a/2.png: cannot be decoded",
    )
    shard(tmp_path / "6" / "train-0.tar", good)
    shard(tmp_path / "6" / "val-0.tar", {"a/1.png": picture(1)})
    fails(tmp_path / "6", "the validation part has no image of class 'b'")
    fails(shard(tmp_path / "7" / "x.tar", {**good, "a/0.cls": b" "}).parent, "a/0.cls: is empty")
    shard(tmp_path / "8" / "x.tar", {**good, "a/0.cls": b"7"})
    (tmp_path / "8" / "classes.txt").write_text("a\nb\n")
    fails(tmp_path / "8", "a/0.cls: holds the class '7', and classes.txt has 2 names")
    left = load(tmp_path / "5", skip_unreadable=1)
    assert left.draw is not None
    assert left.draw.left_out == ("a/2.png",)


def test_a_shard_that_changes_is_named(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "images")
    pack(root, tmp_path / "packed")
    data = load(tmp_path / "packed")
    (file,) = (tmp_path / "packed").glob("*.tar")
    file.write_bytes(file.read_bytes() + b"more")
    with pytest.raises(DataError, match=r"\.tar: has \d+ bytes, and had"):
        data.train.read(torch.arange(2))


def test_mistakes_of_packing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = class_folders(tmp_path / "images")
    code, _, err = call(capsys, "data", "pack", root, root)
    assert code == 2
    assert "is not empty: give a new folder" in err
    code, _, err = call(capsys, "data", "pack", tmp_path / "nowhere", tmp_path / "packed")
    assert code == 2
    assert "nowhere: cannot be listed" in err
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000).save(root / "cat" / "deep.png")
    code, _, err = call(capsys, "data", "pack", root, tmp_path / "packed", "--side", 8)
    assert code == 2
    assert "deep.png: has more than 8 bits" in err
    assert not list((tmp_path / "packed").glob("*.tar"))
    blocked = tmp_path / "file"
    blocked.write_text("")
    code, _, err = call(capsys, "data", "pack", root, blocked / "packed")
    assert code == 2
    assert "Traceback" not in err


def test_shards_can_be_looked_at(tmp_path: Path) -> None:
    pack(class_folders(tmp_path / "images", count=6), tmp_path / "packed")
    assert len(look_at(str(tmp_path / "packed")).items) == 12
