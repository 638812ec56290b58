"""The records of a run folder: one schema for each, written and read through it."""

from anybudget.storage.records.curves import Curve, read_curve
from anybudget.storage.records.reading import LARGEST, checked, read_record, read_records, read_toml
from anybudget.storage.records.schemas import (
    Answer,
    Comparison,
    Evaluated,
    Found,
    GeneratorSpent,
    Layers,
    Measured,
    Network,
    Provenance,
    Ranking,
    Record,
    Retrained,
    Spent,
    StageNote,
    Stages,
    StrategyResult,
)

__all__ = [
    "LARGEST",
    "Answer",
    "Comparison",
    "Curve",
    "Evaluated",
    "Found",
    "GeneratorSpent",
    "Layers",
    "Measured",
    "Network",
    "Provenance",
    "Ranking",
    "Record",
    "Retrained",
    "Spent",
    "StageNote",
    "Stages",
    "StrategyResult",
    "checked",
    "read_curve",
    "read_record",
    "read_records",
    "read_toml",
]
