"""The schema of what a run, and each of its networks, keeps of its data."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from anybudget.storage.records.reading import MUST
from anybudget.storage.records.schemas import Number, Record, said

FORMAT, VERSION = "anybudget data", 1

Positive = Annotated[int, Field(strict=True, ge=1, lt=2**31)]


def _above_zero(value: float) -> float:
    if value <= 0:
        raise PydanticCustomError(MUST, "must be above 0, found {found}", {"found": f"{value:g}"})
    return value


class DataRecord(Record):
    """`data.json`: what a network needs to know of its data, and which data these are.

    `class_names` are in the order of the logits, None where the data set has no names. The input is
    `(pixel / pixel_scale - mean) / std`, channel by channel. `source` is where the data lay when they were last used,
    which a run folder alone keeps.
    """

    format: Literal["anybudget data"]
    version: Literal[1]
    classes: Positive
    class_names: tuple[str, ...] | None
    mean: tuple[Number, ...]
    std: tuple[Annotated[Number, AfterValidator(_above_zero)], ...]
    pixel_scale: Literal[255]
    channels: Positive
    height: Positive
    width: Positive
    resize: str
    interpolation: str
    value_range: tuple[Number, Number] | None
    stored: Literal["files", "arrays"]
    digest: str
    splits: str
    left_out: tuple[str, ...]
    source: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_this_version(cls, values: Any) -> Any:
        if isinstance(values, dict):
            version = values.get("version")
            if values.get("format") != FORMAT or type(version) is not int:
                raise said("no description of data of anybudget")
            if version > VERSION:
                raise said(
                    f"written by a newer version of anybudget (data {version}, here {VERSION}): update anybudget"
                )
        return values

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        for key in ("mean", "std"):
            if len(getattr(self, key)) != self.channels:
                raise said(f'"{key}" must have a number for each of {self.channels} channels')
        if self.class_names is not None and len(self.class_names) != self.classes:
            raise said(f'"class_names" must have a name for each of {self.classes} classes')
        return self
