"""What the tests of mistakes share: rows of a table, ways to damage files, and the check of the refusal.

A row says what is done to a copy of the folder `prepared`, the command line, and how the one message reads. Checked is
what a user needs of it, the files, keys, values and numbers that it names (`facts`), not how it is worded.
"""

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from conftest import call

Prepare = Callable[[Path], object]
FACT = re.compile(
    r"""
      '[^']*'?                                      # a value
    | (?:(?<=\bkey\ )|(?<=\bkeys\ ))[\w\\\[.]+       # a key
    | (?:^|(?<=[;:]\ ))[\w.]+(?=:)                  # what stands before a colon
    | (?<=\bmean\ )[\w.-]+                         # what was probably meant
    | [^\s'",;:()]*[\d._/\\<=>~\[\]%*][^\s'",;:()]*  # a file, a key with a table, a number, a budget
    | --[\w-]+                                     # a flag
    | \b[A-Z]{3,}\b                                # a format
    """,
    re.VERBOSE,
)
PROGRESS = re.compile(r"━| left |finished before, kept$")


def written(name: str, content: str | bytes) -> Prepare:
    """Write one file."""
    data = content.encode() if isinstance(content, str) else content

    def prepare(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)

    return prepare


def edited(name: str, change: Callable[[bytes], bytes]) -> Prepare:
    """Rewrite one file."""

    def prepare(folder: Path) -> None:
        before = (folder / name).read_bytes()
        after = change(before)
        assert after != before
        (folder / name).write_bytes(after)

    return prepare


def removed(name: str) -> Prepare:
    """Delete one file."""
    return lambda folder: (folder / name).unlink()


def made_folder(name: str) -> Prepare:
    """Put a folder where a file belongs."""

    def prepare(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir(parents=True)

    return prepare


def linked(name: str, target: str | Path) -> Prepare:
    """Make a link to somewhere else."""
    return lambda folder: (folder / name).symlink_to(target)


def both(*prepares: Prepare) -> Prepare:
    """Do several things, one after another."""

    def prepare(folder: Path) -> None:
        for each in prepares:
            each(folder)

    return prepare


def mistake(
    identifier: str,
    arguments: str | Sequence[str],
    names: str,
    prepare: Prepare | None = None,
) -> Any:
    """One row: `names` is a part of the message, of which the `facts` are checked."""
    words = tuple(shlex.split(arguments)) if isinstance(arguments, str) else tuple(arguments)
    return pytest.param(words, names, prepare, id=identifier)


def facts(message: str) -> list[str]:
    """What a message, or a part of it, names; all of it if it names nothing."""
    return [fact.strip(".") for fact in FACT.findall(message) if fact.strip(".")] or [message]


def missing(names: str, message: str) -> list[str]:
    """The facts of `names` that a message does not have, in however many lines it is printed."""
    return [fact for fact in facts(names) if fact not in message and fact not in " ".join(message.split())]


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, hidden files too: bytes of files, None for folders."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def refuse(capsys: pytest.CaptureFixture[str], folder: Path, arguments: Sequence[str], names: str) -> None:
    """Check that a command ends with code 2 and one message with the facts of `names`, and changes nothing."""
    before = contents(folder)
    code, out, err = call(capsys, *arguments)
    assert "Traceback" not in out + err
    assert (code, out) == (2, ""), err
    lines = [line for line in err.splitlines() if line.strip() and not PROGRESS.search(line)]
    messages = [line for line in lines if line.lower().startswith("error: ")]
    assert len(messages) == 1, err
    others = [line for line in lines if line not in messages]
    if messages[0].startswith("Error: "):  # click's own, behind a line on usage
        others = [line for line in others if not line.startswith(("Usage: anybudget ", "Try 'anybudget "))]
    assert not others, err
    assert not missing(names, messages[0]), messages[0]
    assert len(messages[0]) < 2000
    assert contents(folder) == before
