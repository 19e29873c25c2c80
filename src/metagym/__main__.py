"""`python -m metagym` is `metagym`."""

from metagym.cli import main

if __name__ == "__main__":
    main()
