"""The command line."""

from anybudget.cli.process import main

__all__ = ["main"]
