"""Runs the command line as `python -m anybudget`."""

from anybudget.cli import main

main()
