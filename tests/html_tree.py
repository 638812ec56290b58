"""A page of HTML as a tree, for tests of what stands on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "input", "hr", "col", "wbr", "source"}


@dataclass
class Node:
    tag: str
    attributes: dict[str, str]
    children: list[Node | str] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        return self.attributes.get("class", "").split()

    def text(self) -> str:
        """The text a person sees: tooltips and descriptions left out."""
        hidden = {"title", "desc"}
        parts = (
            c if isinstance(c, str) else c.text() for c in self.children if isinstance(c, str) or c.tag not in hidden
        )
        return " ".join("".join(parts).split())

    def walk(self) -> Iterator[Node]:
        yield self
        for child in self.children:
            if isinstance(child, Node):
                yield from child.walk()

    def find(self, tag: str = "", class_: str = "") -> list[Node]:
        return [n for n in self.walk() if (not tag or n.tag == tag) and (not class_ or class_ in n.classes)]

    def by_id(self, name: str) -> Node | None:
        return next((n for n in self.walk() if n.attributes.get("id") == name), None)

    def tooltip(self) -> str:
        return "".join(str(c) for n in self.children if isinstance(n, Node) and n.tag == "title" for c in n.children)

    def number(self, attribute: str) -> float:
        return float(self.attributes[attribute])


class TreeBuilder(HTMLParser):
    """Builds a tree, and refuses what a browser would have to guess at: a tag closed out of order or never."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("", {})
        self.stack = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"attribute given twice in <{tag}>"
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.stack[-1].children.append(node)
        if tag not in VOID:
            self.stack.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.stack[-1].tag == tag, f"</{tag}> closes <{self.stack[-1].tag}>"
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        self.stack[-1].children.append(data)


def parse(page: str) -> Node:
    builder = TreeBuilder()
    builder.feed(page)
    builder.close()
    assert len(builder.stack) == 1, f"<{builder.stack[-1].tag}> is never closed"
    return builder.root
