"""Text from outside is read at one boundary: what is absurd is refused there, with a reason for people."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from anybudget import reading
from anybudget.errors import RunError
from anybudget.reading import (
    DEEPEST,
    UnreadableError,
    parse_json,
    parse_object,
    parse_toml,
    read_bytes,
    read_text,
    unreadable_as,
)


@pytest.mark.parametrize("levels", [DEEPEST + 1, 500, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_json_is_nested_only_so_deep(opening: str, closing: str, levels: int) -> None:
    innermost = "" if opening == "[" else "1"
    with pytest.raises(UnreadableError, match=r"^nested too deeply$"):
        parse_json(opening * levels + innermost + closing * levels)
    assert parse_json(opening * DEEPEST + innermost + closing * DEEPEST)


def test_toml_is_nested_only_so_deep() -> None:
    for text in ("x = " + "[" * 3000, "x = " + "[" * 300 + "]" * 300, "a." * 300 + "b = 1"):
        with pytest.raises(UnreadableError, match=r"^nested too deeply$"):
            parse_toml(text)
    assert parse_toml("a." * (DEEPEST - 1) + "b = 1")


def test_an_enormous_integer_is_as_infinite_as_an_enormous_decimal() -> None:
    assert parse_json(f"[{'9' * 5000}, -{'9' * 400}, 1e999, {10**300}]") == [math.inf, -math.inf, math.inf, 10**300]
    for number in ("9" * 5000, "0x" + "f" * 5000):
        with pytest.raises(UnreadableError, match="more than 4300 digits"):
            parse_toml(f"x = {number}")


def test_what_is_wrong_has_its_line() -> None:
    for read, text in ((parse_json, "{\n  x"), (parse_json, b"[\n\xff]")):
        with pytest.raises(UnreadableError) as error:
            read(text)  # type: ignore[operator]
        assert error.value.line == 2
    with pytest.raises(UnreadableError, match=r"^not an object but \[1\]$"):
        parse_object("[1]")
    assert parse_object(json.dumps({"ä": 1}).encode()) == {"ä": 1}


def test_only_regular_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "large").write_bytes(b"12345")
    monkeypatch.setattr(reading, "LARGEST_FILE", 4)
    for name, said in (
        ("pipe", "not a regular file"),
        ("circle", "Too many levels of symbolic links"),
        ("large", "a file of 5 bytes, more than the 4 allowed"),
        ("nul\0", "embedded null byte"),
        ("none", "No such file or directory"),
        (".", "Is a directory"),
    ):
        path = tmp_path / name
        with pytest.raises(RunError) as error, unreadable_as(RunError, "it", "damaged", "mend it"):
            read_bytes(path)
        assert str(error.value) == f"it: damaged: {said}; mend it"


def test_lines_end_alike_everywhere(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"a\r\nb\rc\n")
    assert read_text(tmp_path / "text") == "a\nb\nc\n"
