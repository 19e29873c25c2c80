"""`metagym demo`, `run` and `resume`: one meta-episode in a run folder."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from metagym.cli import model_options
from metagym.cli.console import JsonOption, SeedOption, errors, progress, resumable
from metagym.cli.options import ENV_OPTION, read_pairs, read_text
from metagym.cli.show import RunArgument, print_run, print_spending
from metagym.errors import ConfigError

if TYPE_CHECKING:
    from metagym.runs import Manifest

StepsOption = Annotated[
    int, Option("--steps", "-n", min=1, help="Meta-steps: each plays a batch of episodes, then reflects on it.")
]
OutOption = Annotated[Path | None, Option("--out", "-o", help="The run folder; by default a new one in runs/.")]
RunOption = Annotated[
    list[str] | None,
    Option(
        "--option",
        metavar="NAME=VALUE",
        help=f"{ENV_OPTION} Also of the run: first_prompt=TEXT or first_prompt=@FILE, and replay=RUN/replies.sqlite, "
        "which plays recorded replies offline.",
    ),
]


def demo_command(
    env: Annotated[str, Option("--env", help="A meta-environment; `metagym envs` lists them.")] = "MetaGym/Gates-v0",
    steps: StepsOption = 10,
    seed: SeedOption = 0,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """See a prompt get better over meta-steps: offline, with a scripted actor and a scripted reflector."""
    from metagym.runs import Manifest

    manifest = Manifest(env_id=env, env_options={"actor": "demo"}, reflector="demo", seed=seed, num_steps=steps)
    _play(manifest, out or _new_folder(f"demo-{env}-seed{seed}"), as_json)


def run_command(
    env: Annotated[str, Argument(help="An id that `metagym envs` lists, or package.module:MyMetaEnv.")],
    actor: model_options.ActorOption = None,
    reflector: model_options.ReflectorOption = None,
    budget: model_options.BudgetOption = None,
    sampling: model_options.SamplingOption = None,
    reflector_sampling: model_options.ReflectorSamplingOption = None,
    steps: StepsOption = 10,
    seed: SeedOption = 0,
    option: RunOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a meta-environment with your model as actor and reflector.

    A key is read from the environment: OPENAI_API_KEY, or the variable that api_key_env names in FILE.json.
    """
    from metagym.registration import check_options
    from metagym.runs import Manifest

    options = read_pairs(option)
    first_prompt, replay = options.pop("first_prompt", None), options.pop("replay", None)
    if isinstance(first_prompt, str) and first_prompt.startswith("@"):
        first_prompt = read_text("--option first_prompt", Path(first_prompt[1:]))
    check_options(env, options)
    options["actor"] = model_options.read_actor(actor, sampling)
    reflector_spec = model_options.read_reflector(reflector, reflector_sampling, actor=options["actor"])
    if replay is not None:
        options["actor"], reflector_spec = map(model_options.replayed, (options["actor"], reflector_spec))
    if budget is not None:
        options["budget"] = model_options.read_budget(budget)
    manifest = Manifest(
        env_id=env,
        env_options=options,
        reflector=reflector_spec,
        seed=seed,
        num_steps=steps,
        first_prompt=None if first_prompt is None else str(first_prompt),
    )
    _play(manifest, out or _new_folder(f"{env}-seed{seed}"), as_json, replay=replay)


def resume_command(run: RunArgument, budget: model_options.BudgetOption = None, as_json: JsonOption = False) -> None:
    """Resume a run that was stopped, exactly at the place at which it stopped; if its budget stopped it, with more."""
    from metagym.budget import Budget
    from metagym.runs import RunFolder

    manifest = RunFolder.open(run).manifest
    if manifest.evaluation is not None:
        raise ConfigError(f"{run} belongs to an evaluation: give the command again that began it.")
    limits = model_options.read_budget(budget, base=manifest.env_options.get("budget"))
    _play(manifest, run, as_json, resume=True, budget=Budget.model_validate(limits) if limits else None)


def _play(
    manifest: Manifest, path: Path, as_json: bool, *, resume: bool = False, budget: Any = None, replay: Any = None
) -> None:
    from metagym.models import Cassette
    from metagym.runs.running import run_experiment

    after = functools.partial(print_spending, path, to=errors)
    with resumable(path / "manifest.json", f"metagym resume {path}", after=after), progress() as bars:
        meta_steps = bars.add_task("meta-steps", total=manifest.num_steps)
        episodes = bars.add_task("episodes", total=None)
        run_experiment(
            manifest,
            path,
            resume=resume,
            budget=budget,
            cassette=None if replay is None else Cassette(replay, mode="replay"),
            on_episode=lambda: bars.advance(episodes),
            on_meta_step=lambda meta_step: bars.advance(meta_steps),
        )
    print_run(path, as_json=as_json)


def _new_folder(name: str) -> Path:
    """Return the first free folder of that name in `runs/`."""
    stem = name.replace("MetaGym/", "").replace("/", "-").replace(":", "-").lower()
    number = 1
    while (path := Path("runs") / (stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    return path
