"""`Architecture`, the immutable value that names one network of one search space."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from anybudget.errors import ArchitectureError, shown
from anybudget.reading import parse_json, unreadable_as


@dataclass(frozen=True, slots=True)
class Architecture:
    """One network of a search space: hashable, comparable, and JSON both ways.

    `choices` holds one choice index per decision of the space named `space`, in the space's canonical form, so that
    two architectures are equal exactly when they describe the same network. Make one with `SearchSpace.canonical`,
    `SearchSpace.sample` or `Architecture.from_json`; `SearchSpace.validate` checks that it fits a space.

    Example:
        >>> network = Architecture("nas-bench-macro", (2, 2, 0))
        >>> Architecture.from_json(network.to_json()) == network
        True
    """

    space: str
    choices: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: `{"space": name, "choices": [index of each decision]}`."""
        return {"space": self.space, "choices": list(self.choices)}

    def to_json(self) -> str:
        """The JSON text that `from_json` reads back to an equal value."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, data: Any, source: str = "architecture") -> Architecture:
        """Read `to_dict`'s form; `source` names the file or argument in the error.

        Raises:
            ArchitectureError: a key is missing or unknown, or a value has the wrong type.
        """
        if not isinstance(data, dict) or set(data) != {"space", "choices"}:
            found = f"the keys {shown(sorted(data))}" if isinstance(data, dict) else shown(data)
            raise ArchitectureError(f'{source}: expected an object with "space" and "choices" alone, found {found}')
        space, choices = data["space"], data["choices"]
        if not isinstance(space, str):
            raise ArchitectureError(f'{source}: "space" must be a text, found {shown(space)}')
        if not isinstance(choices, list) or not all(type(choice) is int for choice in choices):
            raise ArchitectureError(f'{source}: "choices" must be a list of integers, found {shown(choices)}')
        return cls(space, tuple(choices))

    @classmethod
    def from_json(cls, text: str, source: str = "architecture") -> Architecture:
        """Read `to_json`'s form.

        Raises:
            ArchitectureError: `text` is not JSON or not an architecture.
        """
        with unreadable_as(ArchitectureError, source, "not JSON"):
            data = parse_json(text)
        return cls.from_dict(data, source)

    @property
    def short_id(self) -> str:
        """Ten hexadecimal digits that name the architecture in file names and tables."""
        return sha256(self.to_json().encode()).hexdigest()[:10]
