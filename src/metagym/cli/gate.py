"""`metagym gate OLD NEW`: may a changed prompt be merged?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from metagym.cli import model_options
from metagym.cli.console import JsonOption, SeedOption, print_json, print_text
from metagym.cli.options import EnvOption, read_pairs, read_text

EXIT_CODES = {"keep": 0, "revert": 1, "cannot tell": 2}


def gate_command(
    old: Annotated[Path, Argument(help="A file with the prompt that is in use.")],
    new: Annotated[Path, Argument(help="A file with the changed prompt.")],
    env: Annotated[str, Option("--env", help="A meta-environment; `metagym envs` lists them.")] = "MetaGym/Gates-v0",
    actor: model_options.ActorOption = None,
    sampling: model_options.SamplingOption = None,
    episodes: Annotated[int, Option(min=2, help="Episodes to play, both prompts together.")] = 200,
    repetitions: Annotated[int, Option(min=1, help="Episodes of a prompt on each task.")] = 1,
    seed: SeedOption = 0,
    option: EnvOption = None,
    markdown: Annotated[bool, Option("--markdown", help="Print a text for a pull request.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Play two prompts on the same tasks, and say whether to keep the new one.

    Exit code 0: keep, it is better. 1: revert, it is worse. 2: cannot tell, with the smallest difference that these
    tasks would have shown.
    """
    from metagym.evaluation.gate import gate
    from metagym.registration import check_options, make

    options = read_pairs(option)
    check_options(env, options)
    options["actor"] = model_options.read_actor(actor, sampling)
    with make(env, **options) as made:
        prompts = [read_text("gate", file) for file in (old, new)]
        found = gate(made, *prompts, num_episodes=episodes, repetitions=repetitions, seed=seed)
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
