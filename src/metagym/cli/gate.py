"""`metagym gate OLD NEW`: may a changed prompt be merged?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Context, Exit, Option

from metagym.cli import model_options
from metagym.cli.console import JsonOption, SeedOption, errors, print_json, print_text, resumable
from metagym.cli.options import EnvOption, read_pairs, read_text
from metagym.cli.out_folder import check_out
from metagym.cli.plan import announce, plan_lines
from metagym.errors import ConfigError
from metagym.files import quoted

EXIT_CODES = {"keep": 0, "revert": 3, "cannot tell": 4}  # 1 is an error, and 2 wrong usage


def gate_command(
    context: Context,
    old: Annotated[Path, Argument(help="A file with the prompt that is in use.")],
    new: Annotated[Path, Argument(help="A file with the changed prompt.")],
    env: Annotated[str, Option("--env", help="A meta-environment; `metagym envs` lists them.")] = "MetaGym/Gates-v0",
    actor: model_options.ActorOption = None,
    sampling: model_options.SamplingOption = None,
    budget: model_options.BudgetOption = None,
    episodes: Annotated[int, Option(min=2, help="Episodes to play, both prompts together.")] = 200,
    repetitions: Annotated[int, Option(min=1, help="Episodes of a prompt on each task.")] = 1,
    seed: SeedOption = 0,
    learned_in: Annotated[
        Path | None,
        Option(metavar="RUN", help="The run that wrote NEW: revert if NEW copies names or sentences of its episodes."),
    ] = None,
    option: EnvOption = None,
    out: Annotated[
        Path | None,
        Option("--out", "-o", help="A folder that keeps the model's replies; the same command resumes the gate."),
    ] = None,
    markdown: Annotated[bool, Option("--markdown", help="Print a text for a pull request.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Play two prompts on the same tasks, and say whether to keep the new one.

    Exit code 0: keep, it is better. 3: revert, it is worse, or copies. 4: cannot tell, with the smallest difference
    that these tasks would have shown. --dry-run prints the plan; --yes asks nothing.
    """
    from metagym.evaluation.gate import gate
    from metagym.registration import check_options, make
    from metagym.runs import RunFolder

    folder = None if out is None else check_out(out, "gate")
    options = read_pairs(option)
    check_options(env, options)
    options["actor"] = model_options.read_actor(actor, sampling)
    if budget is not None:
        options["budget"] = model_options.read_budget(budget)
    prompts = [read_text("gate", file) for file in (old, new)]
    learned_on = None
    if learned_in is not None:
        learned_on = [episode for step in RunFolder.open(learned_in).history for episode in step.trajectories]
        if not learned_on:
            raise ConfigError(f"Expected a run with a finished meta-step after --learned-in, got {learned_in}.")
    with make(env, **options) as made:
        _announce(context, env, options, made.unwrapped.families, episodes, repetitions, as_json=as_json)
        with _keeping_replies(folder):
            found = gate(
                made, *prompts, num_episodes=episodes, repetitions=repetitions, seed=seed, learned_on=learned_on
            )
    if as_json:
        print_json(found)
    elif markdown:
        print_text(found.markdown)
    else:
        low, high = found.difference.low, found.difference.high
        print_text(
            f"{found.decision}: new {found.new:.3f}, old {found.old:.3f}, difference {found.difference.mean:+.3f} "
            f"[{low:+.3f}, {high:+.3f}] on {found.num_tasks} tasks; a true difference of {found.detectable:.3f} would "
            "be found with 80 % power"
        )
        for note in found.notes:
            print_text(note)
    if code := EXIT_CODES[found.decision]:
        raise Exit(code)


@contextlib.contextmanager
def _keeping_replies(folder: Path | None) -> Iterator[None]:
    """Keep each reply of a model in the folder, and ask no model for one that is there."""
    from metagym.models import Cassette
    from metagym.runs.folder import REPLIES

    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / REPLIES
    with (
        resumable(file, f"the same command with --out {quoted(folder)}"),
        contextlib.closing(Cassette(file)) as cassette,
        cassette.open(),
    ):
        yield


def _announce(
    context: Context,
    env: str,
    options: dict[str, Any],
    families: tuple[str, ...],
    episodes: int,
    repetitions: int,
    *,
    as_json: bool,
) -> None:
    from metagym.evaluation.config import EvaluationConfig
    from metagym.evaluation.gate import MIN_TASKS, tasks_of_a_family
    from metagym.evaluation.planned_use import PlannedUse
    from metagym.evaluation.preset import PresetEnvironment

    try:
        each, refusal = tasks_of_a_family(len(families), episodes, repetitions), None
    except ConfigError as error:  # the plan shows the number that would be enough
        each, refusal = -(-MIN_TASKS // len(families)), error
    planned = PlannedUse(
        environment=env,
        episodes_per_step=each * len(families) * repetitions,
        num_families=len(families),
        num_seeds=1,
        num_arms=2,
        num_episodes=2 * each * len(families) * repetitions,
        num_reflections=0,
    )
    if refusal is not None:
        for line in plan_lines([planned]):
            print_text(line, to=errors)
        raise refusal
    own = {name: value for name, value in options.items() if name not in ("actor", "budget", "families")}
    own.pop("episodes_per_step", None)
    configs = [(PresetEnvironment(id=env, families=families, options=own), EvaluationConfig(families=families))]
    budget = options.get("budget") or {}
    announce(context, [planned], configs, actor=options["actor"], reflector=None, budget=budget, as_json=as_json)
