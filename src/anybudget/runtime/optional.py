"""Libraries that are not installed with the rest: imported when they are needed, and named where they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from anybudget.errors import ConfigError


def optional(module: str, needed_by: str, install: str) -> ModuleType:
    """A module of an optional library.

    Args:
        module: its full name, such as `timm.optim`.
        needed_by: what needs it, with the key and the value that ask for it.
        install: what to give to `pip install`.

    Raises:
        ConfigError: it is not installed, or is broken; says what to install.
    """
    library = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        problem = "is not installed" if error.name == library else f"cannot be imported ({error})"
    except RuntimeError as error:  # torchvision beside a torch that it was not built for
        problem = f"cannot be imported ({str(error).splitlines()[0]})"
    raise ConfigError(f"{needed_by} needs {library}, which {problem}; pip install '{install}'")


def timm(module: str, needed_by: str) -> ModuleType:
    """A module of timm; see `optional`."""
    return optional(f"timm.{module}", needed_by, "anybudget[train]")
