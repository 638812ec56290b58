"""`TeacherSettings`: from which network a trained one learns besides the labels; declared here once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from anybudget.settings import Settings, Share

SUPERNET = "supernet"
"""The name of the teacher that is the largest network of the supernet."""


class TeacherSettings(Settings):
    """`[retrain.teacher]`: knowledge distillation; off where `model` is empty.

    `model` is `supernet`, for its largest network by multiply-adds with the weights that it has there, or the name of
    one of timm's models, whose own `weights` are a local file (safetensors, or a state dict that torch saved), trained
    on the same classes in the same order. `weight` is the share of the loss that asks for the teacher's answers in
    place of the labels, both softened by `temperature`.

    Source: Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network".
    """

    model: str = ""
    weights: str = ""
    weight: Share = 0.5
    temperature: Annotated[float, Field(gt=0, le=1000)] = 2.0

    def problems(self, table: str) -> Iterator[str]:
        """See `Settings.problems`."""
        if self.weights and self.model in ("", SUPERNET):
            yield f"{table}.weights: are those of a model of timm; name it by {table}.model, or leave weights out"
        if self.model not in ("", SUPERNET) and not self.weights:
            yield (
                f"{table}.model: {self.model!r} is one of timm's, and needs {table}.weights, a file with what it has "
                f"learnt of these classes; or take model = {SUPERNET!r}"
            )
        if not self.model and self.model_fields_set - {"model"}:
            yield f"{table}: says how a network is taught, and not by which one; give {table}.model"
