"""The command line, `metagym`: a module for each group of commands. It only reads options, calls and prints."""

from metagym.cli.application import app, main
from metagym.cli.console import console, errors

__all__ = ["app", "console", "errors", "main"]
