"""The report's drawings of architectures."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from anybudget.report import blocks
from html_tree import Node
from report_pages import candidate, lines, report, rows, section


def drawings(page: Node) -> list[Node]:
    return [figure_.find("svg")[0] for figure_ in section(page, "architectures").find("figure")]


def test_architecture_cells(tmp_path: Path) -> None:
    layers = [["3x3", "3x3", "7x7", "skip"], ["5x5", "7x7", "7x7", "7x7"], ["3x3", "5x5", "skip", "skip"]]
    answers = [candidate(2e6, 1.9e6, 80.0, layers=layers), candidate(3e6, 2.9e6, 81.0, layers=layers[::-1])]
    page = report(tmp_path, {"candidates.jsonl": lines(answers)})
    first, second = drawings(page)
    assert [len(layer.find("g", "cell")) for layer in first.find("g", "layer")] == [3, 4, 2]
    assert [len(layer.find("g", "skipped")) for layer in first.find("g", "layer")] == [1, 0, 2]
    assert [len(layer.find("g", "cell")) for layer in second.find("g", "layer")] == [2, 4, 3]
    marks = [[cell.find("text")[0].text() for cell in layer.find("g", "cell")] for layer in first.find("g", "layer")]
    assert marks == [["3", "3", "7"], ["5", "7", "7", "7"], ["3", "5"]]
    # One colour per kernel size, the same in every drawing and in the legend.
    colours = {
        (c.find("text")[0].text(), c.classes[1]) for drawing in (first, second) for c in drawing.find("g", "cell")
    }
    assert len(colours) == 3
    assert len({colour for _, colour in colours}) == 3
    key = [(n.text(), n.classes[1]) for n in section(page, "architectures").find("span", "swatch") if n.text()]
    assert set(key) == colours
    # Stacked from the bottom: the first sub-block is the lowest, and columns go from left to right.
    heights = [rect.number("y") for rect in first.find("g", "layer")[1].find("rect")]
    assert heights == sorted(heights, reverse=True)
    columns = [layer.find("rect")[0].number("x") for layer in first.find("g", "layer")]
    assert columns == sorted(columns)
    assert "≤ 2M MACs · top-1 80.00 %" in section(page, "architectures").find("figcaption")[0].text()
    table = rows(section(page, "architectures"))
    assert table[0] == ["1", "3×3, 3×3, 7×7", "3×3, 5×5"]


def test_architectures_of_single_slot_space_with_long_names_and_many_layers(tmp_path: Path) -> None:
    names = ["mbconv_3x3_e3", "mbconv_5x5_e6", "id", "skip", "A", "shuffle_xception", "3x3"]
    layers = [[names[i % len(names)]] for i in range(25)]
    page = report(tmp_path, {"candidates.jsonl": lines([candidate(2e6, 1.9e6, 80.0, layers=layers)])})
    [drawing] = drawings(page)
    columns = drawing.find("g", "layer")
    assert len(columns) == 25
    assert sum(len(column.find("g", "cell")) for column in columns) == 21
    assert sum(len(column.find("g", "skipped")) for column in columns) == 4
    # Short names stand for themselves; long ones get a letter that no other operation has.
    key = section(page, "architectures").find("ul", "key")[0]
    legend = dict(item.text().split(" ", 1)[::-1] for item in key.find("li") if " " in item.text())
    assert legend == {
        "3×3": "3",
        "A": "A",
        "id": "id",
        "mbconv_3x3_e3": "B",
        "mbconv_5x5_e6": "C",
        "shuffle_xception": "D",
    }
    assert [column.find("text")[0].text() for column in columns[:3]] == ["B", "C", "id"]
    assert max(rect.number("x") + rect.number("width") for rect in drawing.find("rect")) <= drawing.number("width")


@settings(max_examples=30)
@given(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=40, unique=True))
def test_every_operation_gets_a_mark_of_its_own(names: list[str]) -> None:
    legend = blocks.legend([(tuple(names),)])
    assert set(legend) == set(names) - {"skip"}
    assert len({operation.mark for operation in legend.values()}) == len(legend)
    assert all(len(operation.mark) <= 3 and 0 <= operation.colour < blocks.COLOURS for operation in legend.values())


def test_kernels_keep_their_colours_when_not_all_are_used() -> None:
    every, some = blocks.legend([(("3x3", "5x5", "7x7"),)]), blocks.legend([(("9x9", "7x7"),)])
    assert every["7x7"].colour == some["7x7"].colour != some["9x9"].colour
