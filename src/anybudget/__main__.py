"""Runs the command line as `python -m anybudget`."""

from anybudget.cli.commands import main

main()
