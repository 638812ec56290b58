"""The report's page: whole without a network, with the sections whose files are there, and names escaped."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from anybudget.report import write_report
from html_tree import parse
from report_pages import FILES, RESULT, SECTIONS, TRAINING_CSV, candidate, lines, report, rows, section, write_run


def test_page_is_whole_and_needs_no_network(tmp_path: Path) -> None:
    path = write_report(write_run(tmp_path / "run"))
    assert path == tmp_path / "run" / "report.html"
    text = path.read_text(encoding="utf-8")
    page = parse(text)
    assert text.startswith("<!DOCTYPE html>")
    assert not re.search(r"https?:|@import|url\(", text)
    assert not page.find("link")
    assert not page.find("img")
    for node in page.walk():
        for name, value in node.attributes.items():
            assert not value.strip().startswith("//"), (node.tag, name, value)
            if name in ("href", "src", "xlink:href", "action", "data"):
                assert value.startswith("#"), (node.tag, name, value)
            assert not name.startswith("on"), (node.tag, name)


def test_links_ids_and_pictures_are_accessible(tmp_path: Path) -> None:
    page = report(tmp_path)
    ids = [node.attributes["id"] for node in page.walk() if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    for link in page.find("a"):
        assert link.attributes["href"][1:] in ids
    pictures = page.find("svg")
    # accuracy, delivered, two architectures, one retrained, two curves each of supernet and generator, times
    assert len(pictures) == 10
    for picture in pictures:
        assert picture.attributes["role"] == "img"
        for name in picture.attributes["aria-labelledby"].split():
            assert section(picture, name).children, name


def test_same_folder_same_bytes(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_title_falls_back_from_name_to_data_to_folder(tmp_path: Path) -> None:
    assert report(tmp_path / "a").find("h1")[0].text() == "tiny run"
    assert report(tmp_path / "b", {"recipe.toml": '[data]\nsource = "shapes"\n'}).find("h1")[0].text() == "shapes"
    assert report(tmp_path / "c", {"recipe.toml": "seed = 1\ndata = 3\n"}).find("h1")[0].text() == "c"


def test_sections_stand_in_order(tmp_path: Path) -> None:
    assert [node.attributes["id"] for node in report(tmp_path).find("section")] == SECTIONS


@pytest.mark.parametrize(
    ("missing", "sections_gone", "stage"),
    [
        ("candidates.jsonl", {"delivered", "architectures"}, "search"),
        ("random.jsonl", set(), "random baseline"),
        ("supernet.csv", set(), None),  # stages.json says it has run
        ("generator.csv", set(), "generator training"),
        ("stages.json", {"times"}, None),
        ("provenance.json", set(), None),
    ],
)
def test_missing_file_leaves_out_its_section_and_names_its_stage(
    tmp_path: Path, missing: str, sections_gone: set[str], stage: str | None
) -> None:
    page = report(tmp_path, {missing: None})
    assert [n.attributes["id"] for n in page.find("section")] == [s for s in SECTIONS if s not in sections_gone]
    waiting = [n.text() for n in page.find("li") if n.text().startswith("Not run yet")]
    assert waiting == ([f"Not run yet, so left out below: {stage}."] if stage else [])


def test_recipe_alone_gives_a_report_of_what_is_to_come(tmp_path: Path) -> None:
    page = report(tmp_path, only=True)
    assert [node.attributes["id"] for node in page.find("section")] == ["overview", "recipe"]
    stages = "supernet training, generator training, search, random baseline, retraining"
    assert [n.text() for n in page.find("li")] == [f"Not run yet, so left out below: {stages}."]
    assert not page.find("svg")


def test_empty_files_are_as_good_as_missing(tmp_path: Path) -> None:
    header = FILES["supernet.csv"].splitlines()[0] + "\n"
    empty = {
        "candidates.jsonl": "",
        "random.jsonl": "\n",
        "supernet.csv": header,
        "generator.csv": "",
        "stages.json": "{}",
    }
    page = report(tmp_path, empty, only=True)
    assert [node.attributes["id"] for node in page.find("section")] == ["overview", "recipe"]


def test_finished_stage_without_record_is_not_called_unrun(tmp_path: Path) -> None:
    stages = json.dumps({"random": {"seconds": 0.1, "finished": "2026-11-22T01:30:00+00:00"}})
    page = report(tmp_path, {"random.jsonl": "", "stages.json": stages})
    assert "Finished, but there is nothing on file to show: random baseline." in [n.text() for n in page.find("li")]


def test_names_are_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\"'><img src=x onerror=y>&amp;"
    answer = candidate(2e6, 1.9e6, 80.0, layers=[[evil, "skip"], ["3x3", evil]])
    answer["budgets"][evil] = 10.0
    answer["costs"][evil] = 5.0
    stage = {"seconds": 100.0, "finished": evil}
    page = report(
        tmp_path,
        {
            "recipe.toml": f"name = {json.dumps(evil)}\n[data]\nsource = {json.dumps(evil)}\n",
            "provenance.json": json.dumps({evil: evil}),
            "stages.json": json.dumps({evil: stage}),
            "candidates.jsonl": lines([answer]),
            "retrain/<b>&/result.json": json.dumps(RESULT),
            "retrain/<i>/retrain.csv": TRAINING_CSV,
        },
    )
    assert len(page.find("script")) == 1
    assert not page.find("img")
    assert not page.find("b")
    assert not page.find("i")
    assert page.find("h1")[0].text() == evil
    assert section(page, "recipe").find("table")[0].text() == f"{evil}{evil}"
    assert ["<b>&", "≤ 3M MACs"][0] in [row[0] for row in rows(section(page, "retrained"))]


def test_recipe_and_provenance(tmp_path: Path) -> None:
    found = section(report(tmp_path), "recipe")
    [recipe] = found.find("details")[0].find("code")
    assert recipe.children == [FILES["recipe.toml"]]
    assert rows(found, "provenance") == [["seed", "7"], ["git commit", "abc123"], ["gpu", "null"]]


def test_importing_the_report_does_not_import_torch() -> None:
    code = "import sys, anybudget.report; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        ).returncode
        == 0
    )
