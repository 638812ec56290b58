"""The table of the papers: what it names exists, what it links to is there, and the document is what it gives."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
from pydantic import ValidationError

from anybudget.zoo.papers import Paper, Part, as_markdown, file_of, papers
from conftest import call
from test_docs import ROOT, all_commands

PARTS = [pytest.param(part, id=f"{paper.title} {part.part}") for paper in papers() for part in paper.part]
RESULTS = ("Table", "Fig", "Eq", "Algorithm", "Theorem")

# The highest number of each kind in each paper, as far as this project knows them.
COVERED = {
    "SGNAS": {"Table": 6, "Fig": 10, "Eq": 12, "Algorithm": 1},
    "GreedyNAS": {"Table": 4, "Fig": 4, "Eq": 10, "Algorithm": 2, "Theorem": 1},
    "SPOS": {"Table": 7, "Eq": 7, "Algorithm": 1},
}


@pytest.mark.parametrize("part", PARTS)
def test_code_recipes_and_documents_exist(part: Part) -> None:
    for name in part.code:
        module, _, inside = name.partition(":")
        found = import_module(module)
        for step in inside.split(".") if inside else ():
            found = getattr(found, step)
        assert (ROOT / file_of(module)).is_file()
    for recipe in part.recipes:
        assert (ROOT / recipe).is_file()
    for document in part.documents:
        page, _, section = document.partition("#")
        assert not section or section in sections((ROOT / page).read_text())


@pytest.mark.parametrize("part", [case for case in PARTS if case.values[0].command])  # type: ignore[attr-defined]
def test_commands_exist(part: Part) -> None:
    program, name, *arguments = shlex.split(part.command)
    flags = {argument for argument in arguments if argument.startswith("--")}
    if program == "python":
        script = (ROOT / name).read_text()
        assert all(f'"{flag}"' in script for flag in flags)
        return
    assert program == "anybudget"
    known = all_commands()[name]
    assert flags <= {flag for option in known.params for flag in option.opts}
    assert all((ROOT / argument).is_file() for argument in arguments if argument.startswith("recipes/"))


@pytest.mark.parametrize("paper", papers(), ids=lambda paper: paper.title)
def test_every_equation_algorithm_table_and_figure_is_there(paper: Paper) -> None:
    found = {(kind, number) for part in paper.part for kind, number in numbered(part.part)}
    for kind, most in COVERED[paper.title].items():
        assert {number for kind_, number in found if kind_ == kind} == set(range(1, most + 1)), kind
    assert len({part.part for part in paper.part}) == len(paper.part)


def test_what_docstrings_cite_is_there() -> None:
    """Every table, figure, equation and algorithm of the three papers that the code names as its source."""
    cited = re.compile(r"\b(SGNAS|GreedyNAS|SPOS)(?:'s)?(?: \(?(?:supplement|§[\d.]+)\)?(?: and supplement)?,?)? ")
    known = {paper.title: {n for part in paper.part for n in numbered(part.part)} for paper in papers()}
    looked = 0
    for path in (ROOT / "src").rglob("*.py"):
        for match in cited.finditer(text := " ".join(path.read_text().split())):
            for kind, number in numbered(re.split(r"[;:.()](?: |$)", text[match.end() : match.end() + 40])[0][:30])[:1]:
                assert (kind, number) in known[match[1]], (path, match[0], kind, number)
                looked += 1
    assert looked > 10


def test_the_document_is_what_the_data_give(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "papers.md").read_text()
    assert page == as_markdown(papers()), "write it again: anybudget papers --markdown > docs/papers.md"
    code, out, _ = call(capsys, "papers", "--markdown")
    assert (code, out) == (0, page)


def test_the_command_prints_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "papers")
    assert code == 0
    assert all(part.values[0].part in out for part in PARTS)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"result": "82 %"},
        {"result": "82 %", "unmeasured": "no time", "documents": ("docs/zoo.md",)},
        {"unmeasured": "no time", "commands": "anybudget"},
    ],
)
def test_a_part_says_what_was_measured_or_why_not(said: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Part.model_validate({"part": "Table 1", "what": "all of it", **said})


def numbered(text: str) -> list[tuple[str, int]]:
    """What is numbered in a text: `Eq. 1, 5 to 8` gives the equations 1, 5, 6, 7 and 8."""
    found: list[tuple[str, int]] = []
    for kind, numbers in re.findall(rf"\b({'|'.join(RESULTS)})[a-z]*\.? ((?:\d+[a-z]?(?:, | and | to |-)?)+)", text):
        parts = re.findall(r"(\d+)[a-z]?(?:(?: to |-)(\d+))?", numbers)
        found += [(kind, n) for first, last in parts for n in range(int(first), int(last or first) + 1)]
    return found


def sections(page: str) -> set[str]:
    """The anchors of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_numbers_are_read() -> None:
    assert numbered("§3.1, Eq. 1, 5 to 7") == [("Eq", n) for n in (1, 5, 6, 7)]
    assert numbered("Fig. 7a and 7b") == [("Fig", 7), ("Fig", 7)]
    assert numbered("§3.2, Fig. 2, supplement A.3") == [("Fig", 2)]
    assert numbered("Eq. 11-12 (unified block)") == [("Eq", 11), ("Eq", 12)]


def test_the_module_is_where_the_link_leads() -> None:
    assert Path(file_of("anybudget.zoo")).name == "__init__.py"
    assert Path(file_of("anybudget.zoo.network")).name == "network.py"
