"""`Settings`: what a class can be told, declared once; tables of recipes are read by it. And numbers within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from anybudget.runtime.batch_parts import FEWEST

# Bounded, so that a slip of the finger is said at once and does not end in an allocation or a loop without end.
Count = Annotated[int, Field(ge=1, le=10**9)]
Natural = Annotated[int, Field(ge=0, le=10**9)]
Channels = Annotated[int, Field(ge=1, le=2**16)]
# A norm needs two values, and a map may be a single pixel.
Images = Annotated[int, Field(ge=FEWEST, le=10**9)]
Share = Annotated[float, Field(ge=0, le=1)]
Part = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
# Bounded like counts: beyond these, what torch computes with 32 bits overflows.
Rate = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class Settings(BaseModel):
    """Settings of one class, with their defaults: frozen, of exact types, unknown keys refused.

    A recipe's table is read by the class's own settings, so that what is registered later can be set like the rest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    UNSAID: ClassVar[frozenset[str]] = frozenset()
    """Keys that are left out of what is written where they have their defaults: settings from before they came stay
    the same."""

    TABLE_UNSAID: ClassVar[bool] = False
    """Whether a recipe leaves out the whole table of these settings where all of it has its defaults, as `UNSAID`."""

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """All settings but those of `UNSAID` that have their defaults."""
        fields = type(self).model_fields
        unsaid = {
            key for key in self.UNSAID if getattr(self, key) == fields[key].get_default(call_default_factory=True)
        }
        return {key: value for key, value in write(self).items() if key not in unsaid}

    def problems(self, table: str) -> Iterator[str]:  # noqa: ARG002 - most have none
        """What values say against each other, each with its keys and the way out.

        Args:
            table: where in a recipe they are, such as `supernet.greedy`.
        """
        yield from ()


def settings_type(registered: Any) -> type[Settings]:
    """The class of the settings of something registered: its `settings_type`, or `Settings`, which has none."""
    found: type[Settings] = getattr(registered, "settings_type", Settings)
    return found
