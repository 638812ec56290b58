"""The report on trained comparisons: the first picture, its table, and what is said in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anybudget.errors import RunError
from anybudget.report import write_report
from anybudget.storage.records import Worth
from html_tree import Node, parse
from report_pages import FILES, report, rows, section, write_run
from worth_records import record, trained

SPREAD = [[60.0, 61.0], [64.0, 65.0], [66.0, 67.0], [70.0, 69.0]]
ALIKE = [[65.0, 66.1], [66.0, 65.1], [65.2, 65.9], [66.2, 65.0]]
SMALL, LARGE = {"macs": 2e6}, {"macs": 3e6, "params": 9e4}
BETTER = trained([80.0, 80.4], SPREAD, plain=[70.0, 71.0], supernet_first=[75.0, 75.5], mobilenet=[68.0, 69.0])


def page(folder: Path, worth: Worth) -> Node:
    return report(folder, {"worth.json": json.dumps(worth.to_json())})


def test_it_comes_first_and_says_what_the_search_was_worth(tmp_path: Path) -> None:
    found = page(tmp_path, record([(SMALL, BETTER)]))
    text = section(found, "worth").text()
    assert "≤ 2M MACs: The search found something: the answer is 14.95 ± 1.94 points above random" in text
    assert "better than all 4 that were trained, as good as the best of about" in text
    lead = section(found, "overview").find("p", "lead")[0].text()
    assert lead.endswith("that were trained alike, the answers are better by 14.95 points.")
    order = [part.attributes["id"] for part in found.find("section")]
    assert order[:3] == ["overview", "worth", "accuracy"]
    assert "Supernet scores by budget" in section(found, "accuracy").text()
    assert "anybudget worth RUN" not in section(found, "overview").text()


def test_the_table_has_every_figure(tmp_path: Path) -> None:
    worth = record([(SMALL, BETTER), (LARGE, trained([50.0, 50.2], SPREAD))])
    first, second = rows(section(page(tmp_path, worth), "worth"))
    summary = worth.budgets[0].summary
    assert first[:5] == ["≤ 2M MACs", "80.20 ± 0.45", "65.25 ± 1.89 (4)", "69.50", "+14.95 ± 1.94"]
    assert first[5].startswith("≈ ")
    assert first[6] == f"{summary.equivalent.at_least:.1f}"
    assert first[7:] == ["70.50 ± 0.45", "75.25 ± 0.45", "68.50 ± 0.45"]
    assert second[0] == "≤ 3M MACs and ≤ 90k parameters"
    assert second[4].startswith("−15.15")
    assert second[7:] == ["–", "–", "–"]


def test_the_picture_has_every_network(tmp_path: Path) -> None:
    (picture,) = section(page(tmp_path, record([(SMALL, BETTER)])), "worth").find("svg")[:1]
    dots = {mark.find("title")[0].text(): mark for mark in picture.find("circle")}
    heights = {
        float(name.split()[1]): float(mark.attributes["cy"])
        for name, mark in dots.items()
        if name.startswith("random: ")
    }
    assert sorted(heights) == [60.5, 64.5, 66.5, 69.5]
    # Equal differences are equal distances, and better is higher.
    scale = (heights[60.5] - heights[69.5]) / 9
    assert heights[64.5] == pytest.approx(heights[60.5] - 4 * scale, abs=0.02)
    (answer,) = [mark for name, mark in dots.items() if name.startswith("answer: 80.20 % (seeds: 80.00, 80.40)")]
    assert float(answer.attributes["cy"]) == pytest.approx(heights[60.5] - 19.7 * scale, abs=0.05)
    others = [mark.find("title")[0].text() for mark in picture.find("polygon")]
    assert any(name.startswith("plain: 70.50 %") for name in others)
    assert any(name.startswith("mobilenet: 68.50 %") for name in others)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([[80.0, 80.4], [80.0, 80.4]], "the answers are better at all 2 budgets: by 14.95 to 14.95 points."),
        (
            [[80.0, 80.4], [66.0, 66.4]],
            "the answers are better at 1 of 2 budgets; elsewhere there is no difference that",
        ),
        ([[80.0, 80.4], [50.0, 50.4]], "the answers are better at 1 and worse at 1 of 2 budgets"),
        (
            [[66.0, 66.4], [66.0, 66.4]],
            "the answers are not shown to be different at any of 2 budgets: more random networks or seeds would tell",
        ),
    ],
)
def test_the_overview_counts_verdicts(tmp_path: Path, answers: list[list[float]], words: str) -> None:
    entries = [(limits, trained(answer, SPREAD)) for limits, answer in zip((SMALL, LARGE), answers, strict=True)]
    assert words in section(page(tmp_path, record(entries)), "overview").text()


def test_no_difference_is_said_in_words(tmp_path: Path) -> None:
    shown = page(tmp_path, record([(SMALL, trained([65.0, 66.0], ALIKE))]))
    words = section(shown, "worth").text()
    assert "No difference: on this data the architecture does not matter at this size." in words
    overview = section(shown, "overview").text()
    assert "the answers are no different at 1 budget: the search found nothing there" in overview


def test_without_it_the_report_says_how_to_get_it(tmp_path: Path) -> None:
    found = report(tmp_path)
    assert found.by_id("worth") is None
    notices = found.find("ul", "notices")[0].text()
    assert "To have answers trained beside random networks of their cost: anybudget worth RUN" in notices


def test_answers_that_have_changed_since_are_named(tmp_path: Path) -> None:
    def networks(choices: list[int]) -> dict[str, object]:
        values = record([(SMALL, BETTER)]).to_json()
        values["budgets"][0]["networks"][0]["architecture"]["choices"] = choices
        return values

    said = "is another network by now"
    for choices, changed in (([1, 1], False), ([9, 9], True)):  # of FILES, [9, 9] is the answer before the last one
        folder = write_run(tmp_path / str(changed), {"worth.json": json.dumps(networks(choices))})
        text = section(parse(write_report(folder).read_text(encoding="utf-8")), "worth").text()
        assert (said in text) == changed
    assert '"choices": [1, 1]' in FILES["candidates.jsonl"].splitlines()[-1]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda values: values.pop("budgets"), 'lacks "budgets"'),
        (lambda values: values["budgets"][0]["networks"].pop(0), "must hold one answer and two or more random ones"),
        (lambda values: values["budgets"][0]["networks"][2]["test_percent"].pop(), "must all have as many figures"),
        (lambda values: values["budgets"][0]["summary"].update(verdict="great"), '"verdict"'),
    ],
)
def test_a_damaged_record_is_named(tmp_path: Path, damage: object, message: str) -> None:
    values = record([(SMALL, BETTER)]).to_json()
    damage(values)  # type: ignore[operator]
    with pytest.raises(RunError, match=rf"worth\.json: .*{message}"):
        write_report(write_run(tmp_path, {"worth.json": json.dumps(values)}))
