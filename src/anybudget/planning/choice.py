"""`Choice`: the value of a key of a recipe, with the reason for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Choice(Generic[T]):
    """A value and why it is that, as the comment beside it says.

    Example:
        >>> Choice(64, "the demo's").value
        64
    """

    value: T
    reason: str
