"""The command line."""

from anybudget.cli.commands import main

__all__ = ["main"]
