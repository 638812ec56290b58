"""Standard output and error; rich is imported when something is first printed, so that help is immediate."""

from __future__ import annotations

from functools import cached_property
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.style import Style


class OutputClosed(BaseException):
    """Whoever reads the output has gone away; no `Exception`, so that nothing on the way takes it for a mistake."""


class Stream:
    """Standard output or error.

    Args:
        stderr: whether it is standard error.
        file: written to instead.
        width: in characters; that of the terminal if None.
    """

    def __init__(self, *, stderr: bool = False, file: IO[str] | None = None, width: int | None = None) -> None:
        self.quiet = False
        """Whether nothing is printed: of several processes that work together one speaks."""
        self._stderr, self._file, self._width = stderr, file, width

    @cached_property
    def console(self) -> Console:
        """What draws."""
        from anybudget.cli.terminal import StreamConsole

        return StreamConsole(
            stderr=self._stderr, file=self._file, width=self._width, soft_wrap=True, highlight=False, quiet=self.quiet
        )

    def print(
        self,
        *objects: RenderableType,
        style: str | Style | None = None,
        markup: bool | None = None,
        soft_wrap: bool | None = None,
    ) -> None:
        """Print texts, in which rich's markup is read unless it is not to be, or anything else that rich draws."""
        if not self.quiet:
            self.console.print(*objects, style=style, markup=markup, soft_wrap=soft_wrap)

    def print_json(self, json: str) -> None:
        """Print JSON, indented."""
        if not self.quiet:
            self.console.print_json(json)


out = Stream()
err = Stream(stderr=True)


def printable(text: str) -> str:
    """Text on one line, with what a terminal would act on written out."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
