"""`metagym demo`, `run`, `resume` and `estimate`: one meta-episode in a run folder, and its expected usage."""

from __future__ import annotations

import contextlib
import functools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from rich.table import Table
from rich.text import Text
from typer import Argument, Context, Option

from metagym.cli import model_options
from metagym.cli.console import JsonOption, SeedOption, errors, print_json, print_parts, print_text, resumable
from metagym.cli.options import ENV_OPTION, EnvOption, read_assignments, read_pairs, read_text, refuse_without_effect
from metagym.cli.out_folder import check_out
from metagym.cli.plan import announce, estimated, plan_lines
from metagym.cli.progress import progress
from metagym.cli.purchases import print_what_it_buys
from metagym.cli.show import RunArgument, print_run, print_spending
from metagym.errors import ConfigError
from metagym.rendering import plural

if TYPE_CHECKING:
    from metagym.runs import Manifest
    from metagym.runs.cost_estimate import Load

GATES: Final = "MetaGym/Gates-v0"
NUM_STEPS: Final = 10
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

    options = read_pairs(option)
    first_prompt, replay = options.pop("first_prompt", None), options.pop("replay", None)
    if isinstance(first_prompt, str) and first_prompt.startswith("@"):
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
        first_prompt=None if first_prompt is None else str(first_prompt),
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
        raise ConfigError(f"{run} belongs to an evaluation: give the command again that began it.")
    limits = model_options.read_budget(budget, base=manifest.env_options.get("budget"))
    _play(manifest, run, as_json, resume=True, budget=Budget.model_validate(limits) if limits else None)


def estimate_command(
    context: Context,
    env: Annotated[str | None, Argument(help="A meta-environment; `metagym envs` lists them.")] = None,
    preset: Annotated[str | None, Option(help="A preset of `metagym evaluate`, in place of an environment.")] = None,
    steps: StepsOption = NUM_STEPS,
    seeds: Annotated[int, Option(min=1, help="Runs, one for each seed.")] = 1,
    actor: model_options.ActorOption = None,
    reflector: model_options.ReflectorOption = None,
    budget: model_options.BudgetOption = None,
    sampling: model_options.SamplingOption = None,
    reflector_sampling: model_options.ReflectorSamplingOption = None,
    option: EnvOption = None,
    reply_tokens: Annotated[int, Option(min=1, help="Tokens of one reply of the actor.")] = 80,
    prices: Annotated[
        str | None,
        Option(
            metavar="NAME=X,...",
            help="Money per million tokens, prompt=X,completion=Y, for models whose FILE.json names no prices.",
        ),
    ] = None,
    seconds_per_call: Annotated[float, Option(min=0, help="Seconds that a reply takes.")] = 1.0,
    like: Annotated[Path | None, Option(help="A run folder: use its figures instead of a pilot's.")] = None,
    effect: Annotated[float | None, Option(help="The difference in score that you want to find.")] = None,
    sd: Annotated[float | None, Option(help="How much that difference varies from seed to seed.")] = None,
    tasks: Annotated[int, Option(min=1, help="Test tasks for each seed, if sd is not known.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Estimate what a run will use before it starts, and how many seeds a wanted effect needs. Calls no model.

    --like RUN alone shows the sources of the noise of a finished evaluation, and what its cost, spent again on seeds,
    test tasks or repetitions, would buy. --preset NAME estimates a whole evaluation, as the preset is. For an
    environment it takes the options of `metagym run`: of actor and reflector it uses the prices and the max_tokens of
    their sampling, and it says which limits of the budget the run would exceed. An option without effect is refused.
    """
    from pydantic import ValidationError

    from metagym.budget import Prices
    from metagym.registration import check_options, make
    from metagym.runs.cost_estimate import cost_of, estimate_meta_step, loads_of_run
    from metagym.statistics import seeds_needed

    names, of_model = set(context.params), {"actor", "reflector", "sampling", "reflector_sampling", "prices"}
    if env is None and preset is None and like is not None:
        reason = "--like RUN alone shows the noise of a finished evaluation. Name an environment, or leave it out."
        refuse_without_effect(context, names - {"like", "as_json"}, reason)
        print_what_it_buys(like, as_json)
        return
    if (env is None) == (preset is None):
        raise ConfigError("Expected an environment or --preset NAME, and not both: metagym estimate --preset ict.")
    if preset is not None:
        reason = "a preset is estimated as it is. To plan a changed one: metagym evaluate PRESET ... --dry-run."
        refuse_without_effect(context, names - of_model - {"preset", "like", "reply_tokens", "as_json"}, reason)
    if like is not None:
        refuse_without_effect(context, {"reply_tokens"}, "the replies of an earlier run are counted with --like.")
    if effect is None:
        refuse_without_effect(context, {"sd", "tasks"}, "the number of seeds follows from --effect too. Add it.")
    elif sd is not None:
        refuse_without_effect(context, {"tasks"}, "the tasks replace --sd if it is not known. Leave one out.")
    options = read_pairs(option)
    player = None if actor is None else model_options.read_actor(actor, sampling)
    asks = actor is not None or reflector is not None
    writer = model_options.read_reflector(reflector, reflector_sampling, actor=player) if asks else None
    limits, given = model_options.read_budget(budget), None
    try:
        if prices is not None:
            given = Prices.model_validate(read_assignments("--prices", prices))
    except ValidationError:
        raise ConfigError(f"--prices expects prompt=X,completion=Y (and cached=Z), got {prices!r}.") from None
    if preset is not None:
        given_prices = {"reply_tokens": reply_tokens, "prices": given, "like": like}
        _estimate_preset(preset, player, writer, as_json, **given_prices)
        return
    assert env is not None
    check_options(env, options)
    reply, reflection = model_options.longest_reply(player, reply_tokens), model_options.longest_reply(writer, 800)
    with make(env, num_steps=steps, actor="random", **options) as made:
        pilot = estimate_meta_step(made.unwrapped, reply_tokens=reply, reflection_tokens=reflection)

    num_steps = steps * seeds
    by_role = [model_options.prices_of(spec) or given for spec in (player, writer)]
    rows: dict[str, tuple[Load, float | None]] = {}
    for name, load, price in (
        ("actor", pilot.actor, by_role[0]),
        ("actor, at most", pilot.actor_at_most, by_role[0]),
        ("reflector", pilot.reflector, by_role[1]),
    ):
        rows[name] = load.times(num_steps), cost_of([load.times(num_steps)], [price])
    if like is not None:
        an_episode, a_reflection = loads_of_run(like)
        earlier = an_episode.times(pilot.num_pilot_episodes * num_steps), a_reflection.times(num_steps)
        rows = {f"all, like {like}": (earlier[0] + earlier[1], cost_of(earlier, by_role))}
    used = [found for name, found in rows.items() if name != "actor, at most"]
    totals: dict[str, float] = {
        "tokens": sum(load.prompt_tokens + load.completion_tokens for load, _ in used),
        "calls": sum(load.num_calls for load, _ in used),
        "episodes": pilot.num_pilot_episodes * num_steps,
    }
    if all(cost is not None for _, cost in used):
        totals["cost"] = sum(cost or 0.0 for _, cost in used)
    exceeded = [name for name, limit in limits.items() if limit is not None and totals.get(name, 0) > limit * seeds]
    minutes = (pilot.longest_episode + 1) * num_steps * seconds_per_call / 60
    assumed = sd if sd is not None else math.sqrt(0.5 / tasks)
    needed = None if effect is None else seeds_needed(effect, assumed)
    if as_json:
        loads = {name: {**dict(load), "cost": cost} for name, (load, cost) in rows.items()}
        found = {"loads": loads, "min_minutes": minutes, "num_seeds_needed": needed, "sd": assumed}
        print_json({**found, "exceeded": exceeded})
        return
    table = Table("", "calls", "prompt tokens", "completion tokens", "cost")
    for name, (load, cost) in rows.items():
        counts = (f"{count:,.0f}" for count in (load.num_calls, load.prompt_tokens, load.completion_tokens))
        table.add_row(name, *counts, "-" if cost is None else f"{cost:,.2f}")
    lines = [
        f"{plural(steps, 'meta-step')}, {plural(seeds, 'seed')}, {pilot.num_pilot_episodes} episodes a meta-step; "
        f"a pilot of {pilot.num_pilot_episodes} random episodes, {reply} tokens a reply, four bytes a token.",
        f"At least {minutes:.1f} min with every episode of a batch at once and {seconds_per_call:g} s a reply.",
    ]
    lines += [
        f"The budget of {limits[name]:,} {name} a run is exceeded: about {totals[name] / seeds:,.2f} a run."
        for name in exceeded
    ]
    if effect is not None:
        source = "" if sd is not None else f" (coin flips on {tasks} test tasks; seeds add to it)"
        lines.append(
            f"To find a difference of {effect:g} with sd {assumed:.3g}{source}: {needed} seeds "
            "(paired t test, two-sided 5 %, power 80 %)."
        )
    print_parts([table, *map(Text, lines)])


def _estimate_preset(preset: str, actor: Any, reflector: Any, as_json: bool, **given: Any) -> None:
    from metagym.evaluation.campaign import check_names
    from metagym.evaluation.planned_use import plan
    from metagym.evaluation.preset import load_preset

    found = load_preset(preset)
    check_names(found.configs(), found.controls)
    is_stream = found.protocol == "stream"
    planned = plan(found.configs(), controls=found.controls, is_stream=is_stream)
    planned = estimated(planned, found.configs(), actor=actor, reflector=reflector, **given)
    if as_json:
        print_json(planned)
    else:
        print_text("\n".join(plan_lines(planned)))


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
    with resumable(path / "manifest.json", f"metagym resume {path}", after=after), progress(path) as bars:
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
