"""`metagym show`, `verify` and `export`: the records of a run folder, and the usage of its model calls."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer import Argument, Exit, Option

from metagym.cli.console import JsonOption, console, paged, print_json, print_parts, print_text, without_escapes
from metagym.errors import ConfigError
from metagym.files import quoted
from metagym.rendering import plural, render_batch, render_trajectory
from metagym.types import MetaStep, Record, Reflection, Trajectory

if TYPE_CHECKING:
    from metagym.budget import Spending
    from metagym.runs import RunFolder

RunArgument = Annotated[Path, Argument(help="The run folder.")]
SCRIPTED = "SCRIPTED: a script played, this says nothing about language models."
SPENDING = {"num_retries", "num_unknown", "unknown_tokens", "cost"}  # in the JSON of a run, beside the usage


def show_command(
    run: RunArgument,
    step: Annotated[int | None, Option(help="Show the episodes of this meta-step.")] = None,
    episode: Annotated[
        int | None, Option(help="Show this episode only: of --step, or of meta-step 0; of an evaluation, in its log.")
    ] = None,
    details: Annotated[
        bool, Option("--details", help="Print the whole prompts of a run, or all tables of an evaluation.")
    ] = False,
    copies: Annotated[
        bool,
        Option("--copies", help="Print what prompts copy from their learning episodes; the exit code is 1 if any."),
    ] = False,
    no_pager: Annotated[
        bool, Option("--no-pager", help="Print long output at once. Else a terminal gets it in $PAGER, or less.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show a run: its rewards and prompts, the episodes of one meta-step, or the result of an evaluated arm."""
    if copies:
        _show_copies(run, as_json=as_json)
        return
    with paged(not (no_pager or as_json)):
        _show(run, step, episode, details=details, as_json=as_json)


def _show_copies(run: Path, *, as_json: bool) -> None:
    """Print the copied parts of each meta-episode's last prompt, and leave with 1 if one does."""
    from metagym.evaluation.store import read_report

    found = read_report(run).copies
    if not found:
        raise ConfigError(f"{run} has no record of copied text: its arm was an optimizer, or it is not finished.")
    copying = [item for item in found if item.names or item.sentences]
    if as_json:
        print_json(list(found))
    else:
        for item in copying:
            print_text(f"{item.family}, seed {item.seed}: {', '.join(map(repr, (*item.names, *item.sentences)))}")
        print_text(f"{len(copying)} of {plural(len(found), 'last prompt')} copy names or sentences of their episodes.")
    if copying:
        raise Exit(1)


def _show(run: Path, step: int | None, episode: int | None, *, details: bool, as_json: bool) -> None:
    from metagym.evaluation.output.tables import report_lines, report_tables
    from metagym.evaluation.store import report_of
    from metagym.runs import RunFolder

    folder = RunFolder.open(run)
    history = folder.history
    about = folder.manifest.evaluation
    if about is None and episode is not None:
        step = step or 0
    if about is not None and step is None and episode is not None:
        found = list(itertools.islice(folder.episodes(), episode, episode + 1)) if episode >= 0 else []
        if not found:
            raise ConfigError(f"--episode must be from 0 to {folder.num_episodes - 1}, got {episode}.")
        _print_episodes(found, as_json=as_json, record=found[0])
    elif about is not None:
        if step is not None or about.get("protocol") == "stream":
            raise ConfigError(
                f"{run} is an evaluation, many meta-episodes rather than one. Its figures and its episodes: metagym "
                f"report {quoted(run)} -o report.html"
            )
        report = report_of(folder)
        if as_json:
            print_json(report)
        else:
            _print_warnings(folder.warnings)
            _print_summary(folder)
            print_parts(report_tables(report) if details else report_lines(report))
            more = "" if details else f"metagym show {quoted(run)} --details, "
            print_text(
                f"\n{plural(folder.num_episodes, 'episode')} in {run}: {more}metagym report {run} -o report.html"
            )
    elif step is None:
        print_run(run, as_json=as_json, details=details)
    elif 0 <= step < len(history):
        shown = history[step].trajectories
        if episode is not None:
            if not 0 <= episode < len(shown):
                raise ConfigError(f"--episode must be from 0 to {len(shown) - 1}, got {episode}.")
            shown = shown[episode : episode + 1]
        _print_episodes(shown, as_json=as_json, record=history[step] if episode is None else shown[0])
    elif not history:
        raise ConfigError(f"No meta-step was finished in {run}, so there is nothing to show.")
    else:
        raise ConfigError(f"--step must be from 0 to {len(history) - 1}, got {step}.")


def _print_episodes(shown: Sequence[Trajectory], *, as_json: bool, record: Record) -> None:
    if as_json:
        print_json(record)
        return
    one = len(shown) == 1
    text = render_trajectory(shown[0], show_thoughts=True) if one else render_batch(shown, show_thoughts=True)
    console.print(without_escapes(text), markup=False, highlight=False, soft_wrap=not console.is_terminal)


def _print_summary(folder: RunFolder) -> None:
    from metagym.runs.earlier_use import load_ledger
    from metagym.runs.summary import summary_of

    summary = summary_of(folder.path, folder.manifest, load_ledger(folder.path).spent())
    console.print(summary.text, markup=False, highlight=False, soft_wrap=not console.is_terminal)


def print_run(run: Path, *, as_json: bool = False, details: bool = False) -> None:
    """Print a run of one meta-episode: models, rewards, the last prompt, and the calls of its models.

    With `details` the first and the last prompt are printed whole.
    """
    from metagym.runs import RunFolder

    folder = RunFolder.open(run)
    history = folder.history
    scripted = folder.manifest.scripted or any(meta_step.scripted for meta_step in history)
    reflection = folder.get(Reflection, ("", history[-1].index)) if history else None
    if as_json:
        print_json(
            {
                "run": str(run),
                "scripted": scripted,
                "rewards": [item.reward for item in history],
                "num_failed": [item.num_failed for item in history],
                "prompts": [item.prompt for item in (*history, reflection) if item is not None],
                "num_episodes": folder.num_episodes,
                "warnings": folder.warnings,
                "spending": [
                    {"role": role, "for": purpose, **dict(spent.usage), **spent.model_dump(include=SPENDING)}
                    for role, purpose, spent in _spending(run)
                ],
            }
        )
        return
    _print_warnings(folder.warnings)
    _print_summary(folder)
    if history:
        _print_history(history, scripted)
        last = "after the last reflection" if reflection else f"of meta-step {history[-1].index}"
        prompts = history[0].prompt, (reflection or history[-1]).prompt
        if details:
            _print_prompt("The first prompt", prompts[0])
            _print_prompt(f"The prompt {last}", prompts[1])
        else:
            title = f"The first prompt, and its changes (+, -) in the prompt {last}"
            _print_change(title if prompts[0] != prompts[1] else f"The prompt {last} is the first prompt", *prompts)
    else:
        console.print("No meta-step was finished.")
    print_text(f"\n{plural(folder.num_episodes, 'episode')} in {run}: metagym show {quoted(run)} --step 0")
    print_spending(run)


def _print_warnings(warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        text = f"[yellow]Warning:[/yellow] {escape(warning)}"
        console.print(text, highlight=False, soft_wrap=not console.is_terminal)


def _print_history(history: tuple[MetaStep, ...], scripted: bool) -> None:
    table = Table("meta-step", "reward", "", "episodes", "failed", "invalid")
    for meta_step in history:
        trajectories = meta_step.trajectories
        bar = "█" * round(20 * max(0.0, min(1.0, meta_step.reward or 0.0)))
        counts = (len(trajectories), meta_step.num_failed, sum(trajectory.num_invalid for trajectory in trajectories))
        shown = "-" if meta_step.reward is None else f"{meta_step.reward:.2f}"
        table.add_row(str(meta_step.index), shown, bar, *map(str, counts))
    console.print(table)
    if scripted:
        print_text(SCRIPTED)


def _print_prompt(title: str, prompt: str) -> None:
    console.print(
        f"\n[bold]{title}[/bold]", escape(prompt), sep="\n", highlight=False, soft_wrap=not console.is_terminal
    )


def _print_change(title: str, first: str, last: str) -> None:
    console.print(f"\n[bold]{title}[/bold]", highlight=False)
    for line in difflib.ndiff(first.splitlines(), last.splitlines()):
        if not line.startswith("?"):  # ndiff points at the characters that differ in such lines
            style = {"+": "green", "-": "red"}.get(line[0])
            console.print(line, style=style, markup=False, highlight=False, soft_wrap=not console.is_terminal)


def print_spending(run: Path, *, to: Console = console) -> None:
    """Print the usage of a run folder's model calls, by role and purpose, in words; nothing if there were no calls.

    On a narrow terminal a line is broken between numbers; a table would cut them.
    """
    for role, purpose, spent in _spending(run):
        usage = spent.usage
        parts = [
            plural(usage.num_calls, "call"),
            f"{usage.prompt_tokens:,} prompt tokens" + f" ({usage.cached_tokens:,} cached)" * bool(usage.cached_tokens),
            f"{usage.completion_tokens:,} completion tokens",
        ]
        if spent.num_retries:
            parts.append(f"{spent.num_retries:,} retries")
        if spent.num_unknown:
            parts.append(f"{spent.num_unknown:,} of unknown outcome (< {spent.unknown_tokens:,} tokens)")
        if spent.max_cost:
            parts.append(f"cost {spent.cost:.4f}")
        parts.append(f"waited {spent.waiting_s:,.0f} s, worked {spent.working_s:,.0f} s")
        to.print(f"{role}, {purpose}: {', '.join(parts)}", markup=False, highlight=False, soft_wrap=not to.is_terminal)


def _spending(run: Path) -> list[tuple[str, str, Spending]]:
    from metagym.runs.earlier_use import load_ledger

    ledger = load_ledger(run)
    keys = sorted({key[:2] for key in ledger.rows()})
    return [(role, purpose, ledger.spent(role=role, purpose=purpose)) for role, purpose in keys]


def verify_command(run: RunArgument, as_json: JsonOption = False) -> None:
    """Execute the recorded commands of a run again, without a model, and compare observations, scores and results.

    The rewards of meta-steps and the measurements of an evaluation are compared with the episodes.
    """
    from metagym.runs.verification import verify_run

    report = verify_run(run)
    if as_json:
        print_json(report)
    else:
        for difference in report.differences[:10]:
            step = "" if difference.step is None else f", step {difference.step}"
            place = f"{difference.task_id}{step}, {difference.field}:"
            then, now = f"  recorded {difference.recorded:.300}", f"  again    {difference.again:.300}"
            print_text(f"{place}\n{then}\n{now}")
        skipped = f", {report.num_skipped} failed ones skipped" if report.num_skipped else ""
        played = f"{plural(report.num_episodes, 'episode')}, {plural(report.num_steps, 'step')}"
        console.print(f"{played}{skipped}: {len(report.differences)} differ.", highlight=False)
    if report.differences:
        raise Exit(1)


def export_command(
    run: RunArgument,
    parquet: Annotated[Path | None, Option(help="Write the scores of an evaluation to this file.")] = None,
    atif: Annotated[Path | None, Option(help="Write the episodes to this folder, as ATIF v1.7.")] = None,
) -> None:
    """Write a run in formats that other programs read."""
    from metagym.evaluation.output.atif import write_atif
    from metagym.evaluation.output.exports import write_parquet
    from metagym.runs import RunFolder

    if parquet is None and atif is None:
        raise ConfigError("Say what to write: --parquet FILE, --atif FOLDER. Figures: metagym plot RUN -o FILE.")
    with RunFolder.open(run) as folder:
        if parquet is not None:
            console.print(f"{plural(write_parquet(folder, parquet), 'score')} in {parquet}", soft_wrap=True)
        if atif is not None:
            console.print(f"{plural(write_atif(folder, atif), 'episode')} in {atif}", soft_wrap=True)
