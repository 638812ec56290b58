"""`CostSettings`: what a cost is told by its table `[costs.NAME]`; and files that settings name."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from anybudget.settings import Settings


class _IsFile:
    """Marks a setting that is the path of a file."""


FilePath = Annotated[str, Field(min_length=1), _IsFile()]
"""A file that a recipe names, relative to the recipe; a run keeps a copy of it."""


class CostSettings(Settings):
    """The settings of a cost; without keys of its own it is counted in every run."""


def file_keys(settings: type[BaseModel]) -> list[str]:
    """The keys of settings that are files."""
    return [
        name for name, field in settings.model_fields.items() if any(isinstance(m, _IsFile) for m in field.metadata)
    ]
