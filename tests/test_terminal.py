"""What is printed: tables at any width, output that is piped, cut off, in ASCII or on a full disk."""

import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from rich.text import Text

from anybudget.cli import tables, terminal
from anybudget.cli.doctor import print_examination
from anybudget.cli.streams import Stream
from anybudget.cli.tables import print_candidates, print_comparison, print_ranking
from anybudget.recipe import load_recipe, resolved
from anybudget.storage.run_folder import RunFolder
from conftest import call

LONG = "bitops<=12.34G, conv_macs<=123.4M, macs<=123.4M, params<=1.234M"
COSTS = {"macs": 123.4e6, "conv_macs": 123.4e6, "params": 1.234e6, "bitops": 12.34e9}
CANDIDATE = {
    "budgets": COSTS,
    "costs": COSTS,
    "slack": {**dict.fromkeys(COSTS, 0.0), "macs": 1e6},
    "supernet_top1_percent": 83.63,
    "architecture": {"space": "unified", "choices": [0, 0]},
}
SPENT = {"evaluations": 9033, "images": 20.89e6, "macs": 123.4e12, "seconds": 1234.5}
STRATEGIES = ("generator", "refined", "random", "evolution", "nsga2", "direct", "linear")
COMPARISON = {
    "min_use": 0.0,
    "budgets": [COSTS],
    "strategies": [
        {"name": name, "candidates": [CANDIDATE], "hypervolume": 0.7022, "spent": SPENT} for name in STRATEGIES
    ],
}
TAUS = {key: {"kendall": 0.123, "spearman": 0.2} for key in ("loss", "top1", "loss_for_top1", "batch_loss")}
RANKING = {
    "validation_images": 1800,
    "paths": 100,
    "supernets": {
        "trained": {
            "top1_percent": {"lowest": 30.6, "mean": 33.0, "highest": 38.9},
            "rows": [{"images": 1000, **TAUS}],
            "retrained": None,
            "truth": None,
        }
    },
}
RETRAINED = {"architecture": CANDIDATE["architecture"], "costs": COSTS, "epochs": 8, "inherited": True}
CHECK = {
    "state": "problem",
    "check": "checkpoints/supernet.checkpoint",
    "found": "damaged: its hash is another; delete it",
}
EXAMINED = {"run": "runs/demo", "checks": [CHECK], "problems": 1, "environment": {}}
SUMMARY = {
    "space": "unified",
    "size": 10**20,
    "networks": 10**20,
    "decisions": 19,
    "costs": {name: {"min": cost, "median": cost, "max": cost} for name, cost in COSTS.items()},
    "conv_macs": {"min": 1e12, "median": 1e12, "max": 1e12},
    "budgets": [{"text": LONG, "reachable": False, "reason": "params of this space reaches from 437 to 1,234,567,890"}],
}
FACTS = [("platform", "Linux-6.1.0-x86_64-with-glibc2.36"), ("free disk", "78.0 GiB, at runs/demo")]
PRINTED: dict[str, tuple[Callable[[], None], Sequence[str]]] = {
    "generate": (lambda: print_candidates([CANDIDATE]), (LONG.split()[0], "0.00%", "83.63%", "supernet")),
    "run": (
        lambda: print_candidates([CANDIDATE], [{"budgets": COSTS, "supernet_top1_percent": 81.6}]),
        ("83.63%", "81.60%", "random", "worst", "12.34G"),
    ),
    "compare": (lambda: print_comparison(COMPARISON), (*STRATEGIES, "83.63%", "hypervolume", "9.033k", "1234.5")),
    "rank": (lambda: print_ranking(RANKING), ("Kendall's", "networks'", "0.123", "1,000", "top-1")),
    "retrain": (
        lambda: tables.print_retrained([{**RETRAINED, "test_top1_percent": 85.2}]),
        ("architecture", "inherited", "85.20%"),
    ),
    "space": (lambda: tables.print_space(SUMMARY), ("12,340,000,000", "1,234,567,890", "bitops")),
    "doctor": (lambda: print_examination(EXAMINED), ("checkpoints/supernet.checkpoint", "problem", FACTS[0][1])),
}  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(monkeypatch: pytest.MonkeyPatch, name: str, file: io.StringIO, width: int | None) -> list[str]:
    """The lines that are printed, without colours."""
    monkeypatch.setattr("anybudget.runs.environment.facts", lambda _environment: FACTS)
    monkeypatch.setattr(terminal, "out", Stream(file=file, width=width))
    PRINTED[name][0]()
    return Text.from_ansi(file.getvalue()).plain.splitlines()


@pytest.mark.parametrize("width", [200, 120, 80, 60, 40])
@pytest.mark.parametrize("name", PRINTED)
def test_tables_fit_a_terminal_with_whole_words(monkeypatch: pytest.MonkeyPatch, name: str, width: int) -> None:
    lines = printed(monkeypatch, name, Terminal(), width)
    tables = [line for line in lines if not line.startswith("search space")]  # a sentence, which the terminal wraps
    assert max(map(len, tables)) <= width
    words = set(" ".join(lines).replace("│", " ").replace("┃", " ").split())
    assert set(PRINTED[name][1]) <= words | {word.rstrip(":") for word in words}


@pytest.mark.parametrize("name", PRINTED)
def test_without_a_terminal_a_row_is_one_line(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = printed(monkeypatch, name, io.StringIO(), None)
    rows = [line for line in lines if line.startswith("│")]
    assert rows
    for row in rows:
        assert row.strip("│").split("│")[0].strip(), row  # a folded row goes on with an empty first cell
    found = {
        "generate": [LONG, "83.63%"],
        "run": [LONG, "81.60%"],
        "compare": [LONG, "83.63%"],
        "space": [LONG, "no: " + str(SUMMARY["budgets"][0]["reason"])],  # type: ignore[index]
        "doctor": [CHECK["check"], CHECK["found"]],
    }.get(name, [])
    assert any(all(text in row for text in found) for row in rows)


def python(*arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "anybudget", *arguments]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", check=False, **options)  # type: ignore[call-overload]


def test_a_reader_that_has_gone_away_ends_the_command_quietly(recipe_file: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    answer = python("space", str(recipe_file), stdout=writing)
    os.close(writing)
    assert (answer.returncode, answer.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("flag", [[], ["--json"]])
def test_a_full_disk_under_standard_output_is_one_message(recipe_file: Path, flag: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        answer = python("space", str(recipe_file), *flag, stdout=full)
    assert (answer.returncode, answer.stderr) == (2, "error: No space left on device\n")


@pytest.mark.parametrize("encoding", ["ascii:strict", "latin-1:strict"])
def test_any_encoding_can_be_printed_in(recipe_file: Path, tmp_path: Path, encoding: str) -> None:
    folder = tmp_path / "läufe ≤ ×"
    RunFolder.create(folder, resolved(load_recipe(recipe_file)))
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    answer = python("report", str(folder), env=environment, stdout=subprocess.PIPE)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith("report: ")


@pytest.mark.parametrize(
    "environment",
    [
        {"NO_COLOR": "1", "TERM": "dumb", "LC_ALL": "C"},
        {"HOME": "/nonexistent", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
    ids=str,
)  # fmt: skip
def test_surroundings_do_not_matter(recipe_file: Path, environment: dict[str, str]) -> None:
    answer = python(
        "space", str(recipe_file), env=os.environ | environment, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "\x1b" not in answer.stdout
    assert "macs<=60k, params<=1.5k" in answer.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("generate tiny.toml", "tiny.toml: not a run folder but a recipe; make a run with: anybudget run tiny.toml"),
        ("report tiny.toml", "tiny.toml: not a run folder but a recipe; make a run with: anybudget run tiny.toml"),
        ("doctor made.toml", "made.toml: not a run folder but a recipe; did you mean runs/made?"),
        ("run tiny.toml --out images.npz", "images.npz: a file is in the way of the run folder; choose another --out"),
        ("run tiny.toml --out images.npz/x", "images.npz/x: a file is in the way of the run folder; choose another"),
        ("serch run", "No such command 'serch'. Did you mean 'search', 'bench'?"),
        ("generate run --bugdet macs<=1M", "No such option: --bugdet"),
        ("run run", "this is a run folder; to resume the run: anybudget run run/recipe.toml --out run"),
    ],
)  # fmt: skip
def test_what_was_mixed_up_is_said(
    workshop: Path, capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    (workshop / "made.toml").write_text("")
    (workshop / "runs" / "made").mkdir(parents=True)
    (workshop / "runs" / "made" / "recipe.toml").write_text("")
    code, out, err = call(capsys, *arguments.split())
    assert code == 2
    assert message in " ".join((out + err).replace("│", " ").split())


@pytest.mark.usefixtures("workshop")
def test_the_resuming_command_that_is_named_works(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "run", "run/recipe.toml", "--out", "run")
    assert (code, err.count("finished before, kept")) == (0, 5), err


def test_ctrl_c_while_images_are_read_leaves_nothing(
    workshop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("anybudget.runs.data_loading.load_splits", interrupted)
    code, out, err = call(capsys, "run", "tiny.toml", "--out", "new")
    assert (code, out, len(err.splitlines())) == (130, "", 1)
    assert not (workshop / "new").exists()


@pytest.mark.parametrize(
    ("number", "way_out"),
    [
        (errno.EACCES, "Permission denied; make the folder writable, or choose another with --out"),
        (errno.ENOSPC, "No space left on device; free some space and run the same command again"),
    ],
)
def test_a_folder_that_cannot_be_made_says_the_way_out(
    workshop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int, way_out: str
) -> None:
    def refused(path: Path, *_arguments: object, **_options: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "mkdir", refused)
    code, _, err = call(capsys, "run", "tiny.toml", "--out", "new")
    assert code == 2
    assert f"new: cannot write the run folder: {way_out}" in err
    assert not (workshop / "new").exists()
