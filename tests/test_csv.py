"""CSV files that list images: what they give, the splits they say, and every mistake with its line."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from anybudget.data import DataSplits, identify, load_splits, what_differs
from anybudget.data.overview import look_at, overview_of
from anybudget.errors import RunError
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from conftest import call
from data_sets import class_folders, fails, save_image


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def images(root: Path, names: str, count: int) -> list[str]:
    """So many images of each class, each with a value of its own, and their paths."""
    paths = []
    for label in names:
        for number in range(count):
            save_image(root / "files" / f"{label}{number}.png", value=10 * names.index(label) + number)
            paths.append(f"files/{label}{number}.png")
    return paths


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A CSV of eight images of each of three classes, whose labels are the first letters."""
    rows = [f"{path},{path[6]}" for path in images(tmp_path, "abc", 8)]
    return write(tmp_path / "data.csv", "path,label", *rows)


def values(split: object) -> list[int]:
    return split.read(torch.arange(len(split)))[:, 0, 0, 0].tolist()  # type: ignore[attr-defined]


def splits(data: DataSplits) -> tuple[list[int], list[int], list[int]]:
    return values(data.train), values(data.validation), values(data.test())


def test_it_gives_what_class_folders_give(listed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for label in "abc":
        for number in range(8):
            save_image(folder / label / f"{label}{number}.png", value=10 * "abc".index(label) + number)
    data, same = load_splits(str(listed), seed=4), load_splits(str(folder), seed=4)
    assert isinstance(data, DataSplits)
    assert isinstance(same, DataSplits)
    assert splits(data) == splits(same)
    assert (data.class_names, data.mean, data.std) == (same.class_names, same.mean, same.std)
    assert (len(data.train), len(data.validation), len(data.test())) == (18, 3, 3)


def test_neither_the_order_of_rows_nor_of_columns_matters(listed: Path, tmp_path: Path) -> None:
    rows = [line.split(",") for line in listed.read_text().splitlines()[1:]]
    random.Random(0).shuffle(rows)
    other = write(
        tmp_path / "other.csv", "\ufeffLabel, note ,PATH", *(f'{label},"x, y",./{path}' for path, label in rows)
    )
    assert identify(str(other)).digest == identify(str(listed)).digest
    loaded = [load_splits(str(path), seed=1) for path in (listed, other)]
    assert splits(loaded[0]) == splits(loaded[1])  # type: ignore[arg-type]


def test_splits_that_it_says_are_used_as_they_are(
    listed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = [line.split(",")[0] for line in listed.read_text().splitlines()[1:]]
    words = ["train", "Training", "TRAIN", "train", "val", "valid", "test", "testing"] * 3
    rows = [f"{path},{path[6]},{word}" for path, word in zip(paths, words, strict=True)]
    table = write(tmp_path / "said.csv", "path,label,split", *rows)
    for seed in (0, 1):
        data = load_splits(str(table), seed=seed)
        assert splits(data) == (  # type: ignore[arg-type]
            [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23], [4, 5, 14, 15, 24, 25], [6, 7, 16, 17, 26, 27]
        )  # fmt: skip
    no_test = write(tmp_path / "drawn.csv", "path,label,split", *(row for row in rows if ",test" not in row))
    data = load_splits(str(no_test), seed=0)
    assert values(data.validation) == [4, 5, 14, 15, 24, 25]
    assert "drawn.csv: no row has the split test, so test images are drawn from those for training" in caplog.text
    assert [value // 10 for value in values(data.test())] == [0, 1, 2]
    before, after = identify(str(table)), identify(str(no_test))
    assert "6 images are missing" in what_differs(before, after)
    moved = write(tmp_path / "moved.csv", "path,label,split", *(row.replace("valid", "train") for row in rows))
    assert identify(str(moved)).digest != before.digest


def test_no_group_is_in_two_splits(tmp_path: Path) -> None:
    paths = images(tmp_path, "ab", 30)
    groups = {path: f"patient {(7 * place) % 17}" for place, path in enumerate(paths)}
    table = write(tmp_path / "d.csv", "path,label,group", *(f"{path},{path[6]},{groups[path]}" for path in paths))
    data = load_splits(str(table), seed=2)
    found = []
    for split in (data.train, data.validation, data.test()):
        pairs = zip(values(split), split.labels.tolist(), strict=True)
        found.append({groups[f"files/{'ab'[label]}{value - 10 * label}.png"] for value, label in pairs})
        assert set(split.labels.tolist()) == {0, 1}
    assert sum(map(len, found)) == len(set.union(*found)) == 17
    assert abs(len(data.test()) - 9) <= 2
    assert abs(len(data.validation) - 9) <= 2
    shown = overview_of(look_at(str(table)))
    assert shown.kind == "csv"


def test_the_overview_has_the_splits_of_a_run(tmp_path: Path) -> None:
    paths = images(tmp_path, "ab", 10)
    rows = [f"{path},{path[6]},g{place % 7}" for place, path in enumerate(paths)]
    for table in (
        write(tmp_path / "g.csv", "path,label,group", *rows),
        write(tmp_path / "p.csv", "path,label", *(row.rpartition(",")[0] for row in rows)),
    ):
        found, data = look_at(str(table)), load_splits(str(table), seed=0)
        for name, split in (("train", data.train), ("validation", data.validation), ("test", data.test())):
            assert found.open_image is not None
            there = [place for place, item in enumerate(found.items) if item.split == name]
            assert [found.open_image(place).getpixel((0, 0))[0] for place in there] == values(split)  # type: ignore[index]


MISTAKES = {
    "missing": (["path,label", "files/a0.png,a", "files/none.png,a"], "line 3: 'files/none.png' is no file in"),
    "split": (["path,label,split", "files/a0.png,a,trian"], "line 2: the split 'trian' is none of train, val and test"),
    "label": (["path,label", "files/a0.png, ", "files/b0.png,b"], "line 2: has an empty label"),
    "again": (["path,label", "files/a0.png,a", "./files/a0.png,b"], "line 3: names the file of line 2 again"),
    "no split": (["path,label,split", "files/a0.png,a,train", "files/b0.png,b,"], "line 3: has an empty split"),
    "group": (
        ["path,label,split,group", "files/a0.png,a,train,x", "files/b0.png,b,test,x"],
        "line 3: the group 'x' is in test here and in train in line 2",
    ),
    "empty group": (["path,label,group", "files/a0.png,a,"], "line 2: has an empty group"),
    "outside": (["path,label", "../x.png,a"], "line 2: '../x.png' leads out of the folder of the CSV"),
    "absolute": (["path,label", "/etc/x.png,a"], "line 2: '/etc/x.png' leads out of the folder of the CSV"),
    "no image": (["path,label", "d.csv,a"], "line 2: 'd.csv' has no name of an image"),
    "no path": (["path,label", ",a"], "line 2: has no path"),
    "short": (["path,label", "files/a0.png"], "line 2: does not have 2 columns"),
    "long": (["path,label", "files/a0.png,a,b"], "line 2: does not have 2 columns"),
    "quotes": (["path,label", '"files/a0.png,a'], "line 2: unexpected end of data"),
    "no header": (["files/a0.png,a", "files/b0.png,b"], "lacks the column(s) path, label"),
    "semicolons": (["path;label", "files/a0.png;a"], "with commas"),
    "twice": (["path,label,label", "files/a0.png,a,a"], "has the column label twice"),
    "empty": (["path,label"], "has no row below the names of its columns"),
    "nothing": ([""], "lacks the column(s) path, label"),
    "no train": (["path,label,split", "files/a0.png,a,test", "files/b0.png,b,test"], "no row has the split train"),
    "part": (
        ["path,label,split", "files/a0.png,a,train", "files/b0.png,b,train", "files/b1.png,b,val"],
        "no row of class 'a' has the split validation",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named_with_their_lines(mistake: str, tmp_path: Path) -> None:
    images(tmp_path, "ab", 2)
    lines, said = MISTAKES[mistake]
    path = write(tmp_path / "d.csv", *lines)
    fails(path, "d.csv", said)


def test_all_lines_are_counted_and_the_first_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "d.csv", "path,label", *(f"files/{number}.png,a" for number in range(14)))
    code, _, err = call(capsys, "data", path)
    assert code == 2
    assert "line 2: " in err
    assert "line 11: " in err
    assert "; and 4 more: mend these lines or remove them" in " ".join(err.split())


def test_no_utf8(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_bytes(b"path,label\nx\xff.png,a\n")
    fails(tmp_path / "d.csv", "d.csv", "cannot be read", "UTF-8")


def test_a_class_in_one_group_is_refused(tmp_path: Path) -> None:
    paths = images(tmp_path, "ab", 8)
    rows = [f"{path},{path[6]},{'one' if path[6] == 'a' else path}" for path in paths]
    path = write(tmp_path / "d.csv", "path,label,group", *rows)
    fails(path, "class 'a' is in so few groups that none of its images is left for the split")


def test_broken_images_are_left_out(listed: Path) -> None:
    broken = listed.parent / "files" / "a3.png"
    broken.write_bytes(broken.read_bytes()[:30])
    fails(listed, "a3.png", "cannot be decoded")
    data = load_splits(str(listed), seed=0, skip_unreadable=1)
    assert 3 not in [value for split in (data.train, data.validation, data.test()) for value in values(split)]
    shown = overview_of(look_at(str(listed)))
    assert [name for name, _ in shown.broken] == ["files/a3.png"]
    assert "data.skip_unreadable = 1" in shown.refused[0]


def test_a_run_trains_on_it_and_is_tied_to_it(recipe_file: Path, tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "d", ("a", "b", "c"), count=12)
    rows = [f"{label}/{number}.png,{label}" for label in "abc" for number in range(12)]
    path = write(folder / "d.csv", "path,label", *rows)
    sets = [f"data.source={path}", "space.input_channels=3", "supernet.batch_size=8", "generator.batch_size=3"]
    run = Run.create(load_recipe(recipe_file, sets), tmp_path / "run")
    run.train_supernet()
    write(path, "path,label", *rows[1:])
    with pytest.raises(RunError, match=r"1 image is missing: a/0\.png"):
        Run.open(tmp_path / "run").train_generator()
