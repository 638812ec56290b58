"""Where each equation, algorithm, table and figure of the papers is in this project, and what was measured of it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from anybudget.reading import parse_toml

NAMES = ("sgnas", "greedynas", "spos")
"""The papers, by the names of their files here."""

Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], Field(strict=False)]


class Part(BaseModel):
    """One part of a paper.

    `code` are modules, or `module:name` of something in one; `recipes` and `documents` are paths in this project,
    documents perhaps with `#section`. `result` is what was measured, and the documents say where it is; `unmeasured`
    why nothing was. `differs` says where the code does otherwise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    part: Text
    what: Text
    differs: str = ""
    code: Texts = ()
    recipes: Texts = ()
    command: str = ""
    result: str = ""
    unmeasured: str = ""
    documents: Texts = ()

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if bool(self.result) == bool(self.unmeasured):
            raise ValueError(f"{self.part}: has either a result, or a reason why nothing is measured")
        if self.result and not self.documents:
            raise ValueError(f"{self.part}: a result is in a document, which is named")
        return self


class Paper(BaseModel):
    """A paper: its title in short, where it was published, and its parts."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    title: Text
    source: Text
    preprint: Text
    part: Annotated[tuple[Part, ...], Field(min_length=1, strict=False)]


def papers() -> list[Paper]:
    """The three papers.

    Example:
        >>> [paper.title for paper in papers()]
        ['SGNAS', 'GreedyNAS', 'SPOS']
        >>> next(part.code for part in papers()[0].part if part.part == "Algorithm 1")
        ('anybudget.generator.training:train_generator',)
    """
    folder = resources.files(__name__)
    return [Paper.model_validate(parse_toml((folder / f"{name}.toml").read_text("utf-8"))) for name in NAMES]


def as_markdown(found: list[Paper]) -> str:
    """The papers as a page of `docs`, a table for each; links are relative to that folder."""
    return "\n".join([_HEAD, *(line for paper in found for line in _table(paper))])


_HEAD = """# The papers, part by part

Where each equation, algorithm, table and figure of SGNAS, GreedyNAS and SPOS is in this project, how to run it, and
what was measured here, or why nothing was. `anybudget papers` prints this, and `--json` gives it as data. All figures
of ImageNet are the papers' own: nothing has been trained on ImageNet here. Written from `src/anybudget/zoo/papers/`:

```sh
anybudget papers --markdown
```
"""


def _table(paper: Paper) -> Iterator[str]:
    yield f"## {paper.title}\n"
    yield f"{paper.source} ({paper.preprint}).\n"
    yield "| part | what it is | where it is | how it is run | measured here |"
    yield "|---|---|---|---|---|"
    for part in paper.part:
        what = f"{part.what}. Differs: {part.differs}" if part.differs else part.what
        code = ", ".join(_code_link(name) for name in part.code)
        run = [*(_link(recipe) for recipe in part.recipes), *([f"`{part.command}`"] if part.command else [])]
        said = part.result or f"not measured here: {part.unmeasured}"
        where = ", ".join(_link(document) for document in part.documents)
        yield f"| {part.part} | {what} | {code} | {', '.join(run)} | {said}{f' ({where})' if where else ''} |"
    yield ""


def _code_link(name: str) -> str:
    """A link to the file of a module, named after what is meant in it."""
    module, _, inside = name.partition(":")
    path = file_of(module)
    return f"[`{inside or module.removeprefix('anybudget.')}`](../{path})"


def file_of(module: str) -> str:
    """The path of a module in this project."""
    path = f"src/{module.replace('.', '/')}"
    package = resources.files("anybudget")
    for step in module.split(".")[1:]:
        package = package / step
    return f"{path}/__init__.py" if package.is_dir() else f"{path}.py"


def _link(path: str) -> str:
    """A link from the folder `docs` to a file of the project."""
    shown = path.removeprefix("docs/").removeprefix("recipes/").removesuffix(".toml")
    return f"[{shown}]({path.removeprefix('docs/') if path.startswith('docs/') else f'../{path}'})"
