"""What the documents say runs: commands and flags exist, links lead somewhere, the Python example works."""

import re
import shlex
from collections.abc import Iterable, Sized
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer.main
from PIL import Image

from anybudget.cli.commands import app
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.search import STRATEGIES
from anybudget.spaces import SPACES
from anybudget.training import SAMPLERS

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def code_blocks(path: Path) -> list[str]:
    return re.findall(r"```\w*\n(.*?)```", path.read_text(), re.DOTALL)


def commands(path: Path) -> list[list[str]]:
    """Every `anybudget ...` line in a code block or at the start of a recipe's comment, continuation lines joined."""
    text = "\n".join(code_blocks(path)).replace("\\\n", " ")
    lines = re.findall(r"^(?:\.venv/bin/)?anybudget .*$", text, re.MULTILINE)
    words = [shlex.split(line, comments=True)[1:] for line in lines]
    return [found[2:] if found[0] == "--import" else found for found in words]


def all_commands() -> dict[str, Any]:
    """Every command by its name, those of a group by both names."""
    found: dict[str, Any] = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found |= {name: command} if inner is None else {f"{name} {key}": value for key, value in inner.items()}
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_and_flags_exist(path: Path) -> None:
    known = all_commands()
    for name, *arguments in commands(path):
        if name == "data":  # whose first argument is a command or the path of a data set
            name = f"data {arguments[0]}" if f"data {arguments[0]}" in known else "data PATH"
        assert name in known, f"{path.name}: no command {name}"
        flags = {flag for option in known[name].params for flag in (*option.opts, *option.secondary_opts)}
        assert {argument for argument in arguments if argument.startswith("--")} <= flags
        for argument in arguments:
            if argument.startswith("recipes/"):
                assert (ROOT / argument).is_file()


def test_every_command_and_flag_is_listed() -> None:
    text = (ROOT / "docs" / "commands.md").read_text()
    for name, command in all_commands().items():
        (row,) = re.findall(rf"^\| `anybudget {name}\b.*$", text, re.MULTILINE)
        for option in command.params:
            flags = [flag for flag in (*option.opts, *option.secondary_opts) if flag.startswith("--")]
            shared = {
                "--engine",
                "--address",
                "--workers",
                "--data",
            }  # in a paragraph of their own, with the commands that take them
            assert not flags or any(flag in (text if shared & set(flags) else row) for flag in flags), (name, flags)


NUMBERS = ("four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


@pytest.mark.parametrize(
    ("pattern", "registry"),
    [
        (r"(\w+) strategies \(", STRATEGIES),
        (r"(\w+)\s+ways to train a supernet", SAMPLERS),
        (r"## Search spaces\s+(\w+), each", SPACES),
    ],
)  # fmt: skip
def test_what_the_readme_counts_is_as_many(pattern: str, registry: Sized) -> None:
    (word,) = re.findall(pattern, (ROOT / "README.md").read_text())
    assert NUMBERS.index(word.lower()) + 4 == len(registry)


@pytest.mark.parametrize(
    ("page", "registry"),
    [("docs/strategies.md", STRATEGIES), ("docs/strategies.md", SAMPLERS), ("docs/spaces.md", SPACES)],
)
def test_tables_of_what_is_registered_are_complete(page: str, registry: Iterable[str]) -> None:
    listed = set(re.findall(r"^\| `([\w-]+)` \|", (ROOT / page).read_text(), re.MULTILINE))
    assert set(registry) <= listed


def test_scores_of_the_supernet_are_not_passed_off_as_worth() -> None:
    """The README's first table is of trained networks; where scores stand beside them, it is said what they are."""
    before, first = (ROOT / "README.md").read_text().split("```")[0].split("| budget (MACs) |")
    assert "Trained from scratch" in " ".join(before.split())
    assert "score" not in first.splitlines()[0]
    assert "± is the standard error over runs" in " ".join(first.split())
    scores = (ROOT / "docs" / "worth.md").read_text().split("## Where there is nothing to find")[1].split("\n## ")[0]
    assert "answer's supernet score" in scores
    assert "trained networks do not confirm it" in " ".join(scores.split())


def test_the_readme_has_commands() -> None:
    assert {command[0] for command in commands(ROOT / "README.md")} >= {"run", "space", "generate"}


def test_overrides_in_the_readme_are_recipe_keys() -> None:
    for _name, *arguments in commands(ROOT / "README.md"):
        overrides = [value for flag, value in pairwise(arguments) if flag == "--set"]
        load_recipe(ROOT / "recipes" / "demo.toml", overrides)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_named_files_exist(path: Path) -> None:
    text = path.read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (path.parent / target).exists(), f"{path.name}: {target}"
    for target in re.findall(r"`((?:src|tests|benchmarks|recipes|docs)/[\w./-]+\.\w+)`", text):
        if "NAME" not in target:
            assert (ROOT / target).exists(), f"{path.name}: {target}"


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for path in DOCUMENTS:
        for target in re.findall(r"`make ([\w-]+)`", path.read_text()):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{path.name}: make {target}"


def test_the_python_example_runs(recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run.create(load_recipe(recipe_file), tmp_path / "run")
    run.run_all()
    searching, classifying = (block for block in code_blocks(ROOT / "README.md") if "import" in block)
    exec(searching.replace("runs/demo", str(tmp_path / "run")), {})
    assert "macs" in capsys.readouterr().out
    (network,) = (tmp_path / "run" / "retrain").iterdir()
    photo = tmp_path / "photo.jpg"
    Image.new("RGB", (30, 20), (200, 100, 0)).save(photo)
    for written, meant in (("runs/demo/retrain/ID", network), ("photo.jpg", photo)):
        assert written in classifying
        classifying = classifying.replace(written, str(meant))
    names: dict[str, object] = {}
    exec(classifying, names)
    said = capsys.readouterr().out
    assert all(f"'{name}': " in said for name in "012")  # the labels of an archive without class names
    assert said.strip() == str(names["data"].classify(names["network"], photo))  # type: ignore[attr-defined]


def test_no_placeholder_is_left() -> None:
    for path in DOCUMENTS:
        assert not re.search(r"^[A-Z_]{5,}$", path.read_text(), re.MULTILINE), path.name


def test_files_and_rooms_that_the_architecture_names_are_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    package = ROOT / "src" / "anybudget"
    files = set(re.findall(r"`([a-z_]+(?:/[a-z_]+)*\.py)`", text))
    rooms = set(re.findall(r"^\| `([a-z_]+)/`", text, re.MULTILINE))
    assert len(files) > 10
    assert not [name for name in files if not (package / name).is_file()]
    there = {path.name for path in package.iterdir() if (path / "__init__.py").is_file()}
    assert rooms == there
