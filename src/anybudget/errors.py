"""The error types a user can meet; every message says what was given, what was expected and the way out."""


def shorten(text: str, length: int = 120) -> str:
    """`text` on one line, cut to `length` characters: an error message must stay readable."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def shown(value: object, length: int = 120) -> str:
    """How a message shows a value that was given: as Python writes it, cut to `length` characters."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return f"a value of type {type(value).__name__} too long to show"
    return text if len(text) <= length else text[: length - 1] + "…"


def reason(error: BaseException) -> str:
    """The text of a foreign error on one line, for use inside a message."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # without the path, which the message has already
    if "set_int_max_str_digits" in str(error):
        return "a number has more than 4300 digits"  # Python's own advice, to raise its limit, is no way out
    return shorten(str(error), 400) or type(error).__name__


class AnyBudgetError(Exception):
    """Base of every error that is the user's to mend; the command line prints it and exits with code 2.

    Example:
        >>> from anybudget import BudgetSet
        >>> try:
        ...     BudgetSet.parse("macs<=lots")
        ... except AnyBudgetError as error:
        ...     print(type(error).__name__)
        BudgetError
    """


class ConfigError(AnyBudgetError):
    """A recipe, an override or a flag is wrong."""


class DataError(AnyBudgetError):
    """A data set, image or label file cannot be used."""


class MissingDataError(DataError):
    """A data set is not where it is said to be."""


class BudgetError(AnyBudgetError):
    """A budget cannot be parsed, names an unknown cost, or cannot be met by any architecture of the space."""


class ArchitectureError(AnyBudgetError):
    """An architecture does not belong to the search space it is used with."""


class RunError(AnyBudgetError):
    """A run folder is missing something, damaged, or belongs to other settings."""


class TrainingError(AnyBudgetError):
    """Training cannot go on: the loss is not finite or diverges."""
