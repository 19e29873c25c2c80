"""`metagym demo`, `run` and `resume`: one meta-episode in a run folder."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from typer import Argument, Context, Option

from metagym.cli import model_options
from metagym.cli.console import JsonOption, SeedOption, errors, print_text, resumable
from metagym.cli.options import ENV_OPTION, NUM_STEPS, StepsOption, read_pairs, read_text
from metagym.cli.out_folder import check_out
from metagym.cli.plan import announce
from metagym.cli.progress import progress
from metagym.cli.show import RunArgument, print_run, print_spending
from metagym.errors import ConfigError
from metagym.files import quoted

if TYPE_CHECKING:
    from metagym.runs import Manifest

GATES: Final = "MetaGym/Gates-v0"
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
    env: Annotated[str, Option("--env", help="A meta-environment; `metagym envs` lists them.")] = GATES,
    steps: StepsOption = NUM_STEPS,
    seed: SeedOption = 0,
    recorded: Annotated[
        bool, Option("--recorded", help="Play a recorded run of a small language model again, without the model.")
    ] = False,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """See a prompt get better over meta-steps: offline, with a scripted actor and a scripted reflector."""
    from metagym.runs import Manifest

    if recorded:
        if (env, steps, seed) != (GATES, NUM_STEPS, 0):
            raise ConfigError("--recorded plays one run as it was: it takes no --env, --steps and --seed.")
        _play_recorded(_folder(out, "recorded"), as_json)
        return
    manifest = Manifest(env_id=env, env_options={"actor": "demo"}, reflector="demo", seed=seed, num_steps=steps)
    _play(manifest, _folder(out, f"demo-{env}-seed{seed}"), as_json)


def run_command(
    context: Context,
    env: Annotated[str, Argument(help="An id that `metagym envs` lists, or package.module:MyMetaEnv.")],
    actor: model_options.ActorOption = None,
    reflector: model_options.ReflectorOption = None,
    budget: model_options.BudgetOption = None,
    sampling: model_options.SamplingOption = None,
    reflector_sampling: model_options.ReflectorSamplingOption = None,
    steps: StepsOption = NUM_STEPS,
    seed: SeedOption = 0,
    option: RunOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a meta-environment with your model as actor and reflector.

    A key is read from the environment: OPENAI_API_KEY, or the variable that api_key_env names in FILE.json.
    """
    from metagym.models import Cassette
    from metagym.registration import check_options
    from metagym.runs import Manifest

    options = read_pairs(option, texts=("first_prompt", "replay"))
    first_prompt, replay = options.pop("first_prompt", None), options.pop("replay", None)
    if first_prompt is not None and first_prompt.startswith("@"):
        first_prompt = read_text("--option first_prompt", Path(first_prompt[1:]))
    check_options(env, options)
    options["actor"] = model_options.read_actor(actor, sampling)
    reflector_spec = model_options.read_reflector(reflector, reflector_sampling, actor=options["actor"])
    if replay is not None:
        options["actor"] = model_options.replayed(options["actor"], "actor", replay)
        reflector_spec = model_options.replayed(reflector_spec, "reflector", replay)
    if budget is not None:
        options["budget"] = model_options.read_budget(budget)
    manifest = Manifest(
        env_id=env,
        env_options=options,
        reflector=reflector_spec,
        seed=seed,
        num_steps=steps,
        first_prompt=first_prompt,
    )
    path = _folder(out, f"{env}-seed{seed}")
    _announce(context, manifest, as_json)
    with contextlib.ExitStack() as stack:
        if replay is not None:
            cassette = stack.enter_context(contextlib.closing(Cassette(replay, mode="replay")))
            stack.enter_context(cassette.open())
        _play(manifest, path, as_json)


def resume_command(run: RunArgument, budget: model_options.BudgetOption = None, as_json: JsonOption = False) -> None:
    """Resume a run that was stopped, exactly at the place at which it stopped; if its budget stopped it, with more."""
    from metagym.budget import Budget
    from metagym.runs import RunFolder

    manifest = RunFolder.open(run).manifest
    if manifest.evaluation is not None:
        raise ConfigError(f"{run} belongs to an evaluation: give the command again that began it, or that extended it.")
    limits = model_options.read_budget(budget, base=manifest.env_options.get("budget"))
    _play(manifest, run, as_json, resume=True, budget=Budget.model_validate(limits) if limits else None)


def _announce(context: Context, manifest: Manifest, as_json: bool) -> None:
    from metagym.evaluation.config import EvaluationConfig
    from metagym.evaluation.planned_use import PlannedUse
    from metagym.evaluation.preset import PresetEnvironment
    from metagym.registration import make

    options = dict(manifest.env_options)
    actor, budget = options.pop("actor"), options.pop("budget", None)
    with make(manifest.env_id, actor="random", **options) as env:
        families, k = env.unwrapped.families, env.unwrapped.config.episodes_per_step
    planned = PlannedUse(
        environment=manifest.env_id,
        episodes_per_step=k,
        num_families=len(families),
        num_seeds=1,
        num_arms=1,
        num_episodes=manifest.num_steps * k,
        num_reflections=manifest.num_steps,
    )
    place = PresetEnvironment(id=manifest.env_id, families=families, options=options)
    configs = [(place, EvaluationConfig(families=families, episodes_per_step=k))]
    announce(
        context, [planned], configs, actor=actor, reflector=manifest.reflector, budget=budget or {}, as_json=as_json
    )


def _play_recorded(path: Path, as_json: bool) -> None:
    from metagym.runs.recording import read_recording, recorded_replies

    recording = read_recording()
    print_text(f"A language model made this run, and its recorded replies are played. {recording.about}", to=errors)
    with recorded_replies():
        _play(recording.manifest, path, as_json)


def _play(
    manifest: Manifest,
    path: Path,
    as_json: bool,
    *,
    resume: bool = False,
    budget: Any = None,
) -> None:
    from metagym.runs.running import run_experiment

    model_options.print_models(manifest.env_options.get("actor"), manifest.reflector)
    after = functools.partial(print_spending, path, to=errors)
    with resumable(path / "manifest.json", f"metagym resume {quoted(path)}", after=after), progress(path) as bars:
        meta_steps = bars.add_task("meta-steps", total=manifest.num_steps)
        episodes = bars.add_task("episodes", total=None)
        run_experiment(
            manifest,
            path,
            resume=resume,
            budget=budget,
            on_episode=lambda: bars.advance(episodes),
            on_meta_step=lambda meta_step: bars.advance(meta_steps),
        )
    print_run(path, as_json=as_json)


def _folder(out: Path | None, name: str) -> Path:
    if out is not None:
        return check_out(out, "run")
    stem = name.replace("MetaGym/", "").replace("/", "-").replace(":", "-").lower()
    number = 1
    while (path := Path("runs") / (stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    return path
