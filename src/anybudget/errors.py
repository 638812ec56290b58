"""The error types a user can meet; every message says what was given, what was expected and the way out."""


class AnyBudgetError(Exception):
    """Base of every error that is the user's to mend; the command line prints it and exits with code 2."""


class ConfigError(AnyBudgetError):
    """A recipe, an override or a flag is wrong."""


class DataError(AnyBudgetError):
    """A data set, image or label file cannot be used."""


class BudgetError(AnyBudgetError):
    """A budget cannot be parsed, names an unknown cost, or cannot be met by any architecture of the space."""


class ArchitectureError(AnyBudgetError):
    """An architecture does not belong to the search space it is used with."""


class RunError(AnyBudgetError):
    """A run folder is missing something, damaged, or belongs to other settings."""


class TrainingError(AnyBudgetError):
    """Training cannot go on: the loss is not finite or diverges."""
