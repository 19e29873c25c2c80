"""`metagym note`: a note on an episode, kept in its run folder."""

from __future__ import annotations

from typing import Annotated

from typer import Argument

from metagym.cli.console import print_text
from metagym.cli.show import RunArgument


def note_command(
    run: RunArgument,
    episode: Annotated[int, Argument(help="The episode's number in the log, from 0; the report shows it.")],
    text: Annotated[str, Argument(help="The note.")],
) -> None:
    """Keep a note on an episode in the run folder; the report shows it beside the episode."""
    from metagym.runs import RunFolder
    from metagym.runs.notes import NOTES, add_note

    with RunFolder.open(run) as folder:
        add_note(folder, episode, text)
    print_text(f"The note on episode {episode} is in {run / NOTES}.")
