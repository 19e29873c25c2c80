"""`metagym tasks check`: are the tasks of all roles and meta-steps equally hard?"""

from __future__ import annotations

from typing import Annotated, Any, Final

from rich.box import SIMPLE
from rich.table import Column, Table
from typer import Argument, Exit, Option

from metagym.cli import model_options
from metagym.cli.console import JsonOption, console, errors, print_json, print_text
from metagym.cli.options import EnvOption, read_pairs

COLUMNS: Final = (
    "contents: tasks with different content; commonest: the share of the tasks that have the commonest content",
    "by meta-step: the mean score of each meta-step; trend: the last of them minus the first, on a straight line",
)
"""The meaning of the table's columns and rows."""


def tasks_check_command(
    env: Annotated[str, Argument(help="An id that `metagym envs` lists, or package.module:MyMetaEnv.")],
    actor: model_options.ActorOption = "random",
    sampling: model_options.SamplingOption = None,
    families: Annotated[str | None, Option(metavar="A,B,...", help="Families to check; by default all.")] = None,
    tasks: Annotated[int, Option(min=2, help="Tasks of each role and family, or all that there are.")] = 100,
    seeds: Annotated[int, Option(min=1, help="Meta-episodes of each family.")] = 10,
    steps: Annotated[int, Option("--steps", "-n", min=1, help="Meta-steps of each meta-episode.")] = 10,
    option: EnvOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that tasks are equally hard in all roles and at all meta-steps, under one constant prompt.

    One actor plays; the random one needs no model. Exit code 1 if a warning is printed.
    """
    from metagym.env import meta_env_of
    from metagym.evaluation.preset import check_number
    from metagym.evaluation.task_check import check_tasks
    from metagym.registration import check_options, make

    options = read_pairs(option) | ({"families": families.split(",")} if families else {})
    check_options(env, options)
    options["actor"] = "random" if actor == "random" else model_options.read_actor(actor, sampling)
    with make(env, num_steps=steps, **options) as made:
        if not families:
            check_number(env, meta_env_of(made).families)
        found = check_tasks(
            made,
            num_tasks=tasks,
            num_seeds=seeds,
            num_steps=steps,
            on_family=lambda name: errors.print(name, style="dim"),
        )
    if as_json:
        print_json(found)
    else:
        console.print(_table(found), highlight=False)
        for line in COLUMNS:
            print_text(line)
        for warning in found.warnings:
            print_text(f"warning: {warning}")
        if len(found.equal_scores) < len(found.families) and not found.warnings:
            print_text("No difference between roles or meta-steps was found.")
        if found.equal_scores:
            print_text(
                f"All episodes have the same score in {', '.join(found.equal_scores)}: with this actor the check "
                "cannot see a difference there. Name one that succeeds in some episodes: --actor SPEC."
            )
    if found.warnings:
        raise Exit(1)


def _table(found: Any) -> Table:
    table = Table(
        Column("family", overflow="fold"),  # a name may break into lines, and no number is cut off
        *(Column(name, no_wrap=True) for name in ("role", "tasks", "contents", "commonest")),
        Column("score [95 %]", min_width=len("+0.00 [-0.00, +0.00]")),
        title=f"{found.actor} under sp_0, the first prompt" + (" (SCRIPTED)" if found.scripted else ""),
        box=SIMPLE,
        show_edge=False,
        collapse_padding=True,
    )
    for family in found.families:
        name = family.family
        for role, item in family.contents.items():
            estimate = family.scores.get(role)
            score = "-" if estimate is None else f"{estimate.mean:.2f}"
            if estimate is not None and estimate.low is not None:
                score += f" [{estimate.low:.2f}, {estimate.high:.2f}]"
            table.add_row(name, role, f"{item.num_tasks}", f"{item.num_contents}", f"{item.commonest:.0%}", score)
            name = ""
        steps = " ".join("-" if score is None else f"{score:.2f}" for score in family.by_meta_step)
        if family.trend is not None:
            ends = "" if family.trend.low is None else f" [{family.trend.low:+.2f}, {family.trend.high:+.2f}]"
            table.add_row("", "by meta-step", "", "", "", steps)
            table.add_row("", "trend", "", "", "", f"{family.trend.mean:+.2f}{ends}", end_section=True)
    return table
