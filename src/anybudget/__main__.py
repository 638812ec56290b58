"""Runs the command line as `python -m anybudget`."""

from anybudget.cli.process import main

main()
