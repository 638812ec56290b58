"""What the documents show is run: every command, every block of Python, every example of a docstring."""

from __future__ import annotations

import doctest
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import anybudget
from anybudget.recipe import load_recipe
from conftest import FEW_STEPS, call
from forked import run_script
from test_docs import DOCUMENTS, ROOT, commands

SMALLER = {
    "docs/python.md": {
        "(240, 3, 32, 32)": "(60, 3, 8, 8)",
        "arange(240)": "arange(60)",
        "input_size=32": "input_size=8",
    },
    "docs/generator.md": {},
    "docs/spaces.md": {},
    "docs/strategies.md": {},
    "docs/zoo.md": {},
}
"""Pages with Python, and what is made smaller in them for the test. The README's needs a run: see `test_docs.py`;
that of docs/export.md an exported network: see `test_export.py`."""
SHORTER = {
    "run": [part for text in FEW_STEPS for part in ("--set", text)],
    "rank": ["--paths", "4", "--images", "9"],
    "health": ["--networks", "3", "--seeds", "1"],
    "worth": ["--random", "2", "--seeds", "1", "--scored", "3"],
    "estimate": ["--seconds", "1"],
    "profile": ["--runtime", "torch", "--budget-seconds", "20", "--set", "space.input_size=8"],
    "export": ["--min-agreement", "0"],
}
OTHER_TABLES = """
[supernet]
epochs = 1
batch_size = 16
learning_rate = 0.1
[search]
budgets = ["macs<=1M"]
[retrain]
epochs = 1
batch_size = 16
learning_rate = 0.1
"""
PLACEHOLDERS = {"RUN", "RECIPE", "FOLDER"}


def python_blocks(path: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)


def test_every_page_with_python_is_run() -> None:
    found = {str(path.relative_to(ROOT)) for path in DOCUMENTS if python_blocks(path)}
    assert found == {*SMALLER, "README.md", "docs/export.md"}


@pytest.mark.parametrize("page", SMALLER)
def test_the_python_of_a_page_runs(page: str, tmp_path: Path) -> None:
    """In a process of its own, since it may register things, and one block after another."""
    script = "\n".join(python_blocks(ROOT / page))
    for shown, small in SMALLER[page].items():
        assert shown in script
        script = script.replace(shown, small)
    (tmp_path / "page.py").write_text(script)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    answer = run_script(tmp_path / "page.py")
    assert answer.code == 0, answer.err


def test_a_space_in_toml_is_a_recipe_s_table(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "spaces.md").read_text(), re.DOTALL)
    (tmp_path / "recipe.toml").write_text(f'name = "shown"\n{block}{OTHER_TABLES}')
    assert load_recipe(tmp_path / "recipe.toml").build_space().size() > 1


def shown() -> Iterator[Any]:
    for path in DOCUMENTS:
        for command in commands(path):
            if not PLACEHOLDERS & set(command):
                long = command[0] in ("run", "init", "estimate", "profile") or "ray" in command or "--to" in command
                marks = [pytest.mark.slow] if long else []
                yield pytest.param(command, marks=marks, id=f"{path.stem}: {' '.join(command)}")


@pytest.mark.parametrize("command", list(shown()))
def test_a_command_that_is_shown_runs(command: list[str], workshop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As it is written, with fewer steps; `runs/demo` is a small run."""
    (workshop / "run").rename(workshop / "demo")
    (workshop / "runs").mkdir()
    (workshop / "demo").rename(workshop / "runs" / "demo")
    (workshop / "recipes").symlink_to(ROOT / "recipes")
    if command[0] != "init":  # which writes it
        (workshop / "mine.toml").write_text((ROOT / "recipes" / "demo.toml").read_text())
    rng = np.random.default_rng(0)
    for place in range(100):
        folder = workshop / "path" / "to" / "images" / f"class{place % 5}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (28, 28, 3)).astype(np.uint8)).save(folder / f"{place}.png")
    few = rng.integers(0, 255, (300, 28, 28)).astype(np.uint8)
    np.savez(workshop / "few.npz", x=few, y=np.arange(300) % 10, xt=few[:50], yt=np.arange(50) % 10)
    arguments = [*command, *SHORTER.get(command[0], [])]
    if command[0] == "export":  # the small run has answered another budget
        arguments = ["macs<=30k" if "<=" in part else part for part in arguments]
    if command[0] == "run" and not any(part.startswith("data.source=") for part in command):
        arguments += ["--set", "data.source=few.npz"]
    if "devices=2" in command:  # the second process is started with the command line of the first
        ended = subprocess.run([sys.executable, "-m", "anybudget", *arguments], capture_output=True, text=True)
        code, err = ended.returncode, ended.stderr
    else:
        code, _, err = call(capsys, *arguments)
    if command[0] == "bench":  # on whole tables, which `tests/test_bench.py` runs where they are at hand
        table = command[command.index("--table") + 1]
        assert code == 2
        assert f"{table}: cannot read" in err
        assert "o such file" in err
        return
    assert code == 0, err


SOURCE = Path(anybudget.__file__).parent
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
    if ">>> " in path.read_text()
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_of_docstrings_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert not found.failed


@pytest.mark.parametrize("name", anybudget.__all__)
def test_what_is_public_has_an_example(name: str) -> None:
    assert ">>> " in (getattr(anybudget, name).__doc__ or ""), f"anybudget.{name} has no example in its docstring"
