"""`python -m metagym.cli`: the command line, if the script is not on the path."""

from metagym.cli import main

main()
