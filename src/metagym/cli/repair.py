"""`metagym repair`: set the unreadable records of a run folder aside, and report the loss."""

from __future__ import annotations

from metagym.cli.console import JsonOption, print_json, print_text
from metagym.cli.show import RunArgument
from metagym.rendering import plural


def repair_command(run: RunArgument, as_json: JsonOption = False) -> None:
    """Set broken lines and damaged replies of a run aside, keep the rest, and report the loss."""
    from metagym.runs.repair import repair_run

    repair = repair_run(run)
    if as_json:
        print_json(repair)
        return
    kept = f"{plural(repair.num_kept, 'line')} of its log can be read"
    if not repair.removed:
        print_text(f"Nothing in {run} is broken: {kept}.")
        return
    for item in repair.removed:
        place = item.file if item.line is None else f"{item.file}, line {item.line}"
        print_text(f"{place} ({item.problem})\n  {item.lost}.")
    print_text(f"{plural(len(repair.removed), 'part')} set aside in {', '.join(repair.written)}; {kept}.")
    print_text(f"To resume: {repair.resume}")
