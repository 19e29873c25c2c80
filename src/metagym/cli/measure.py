"""`metagym evaluate`, `compare` and `arena`: reflectors on held-out families, and methods side by side."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Context, Option

from metagym.cli import model_options
from metagym.cli.console import JsonOption, print_json, print_parts, print_text, resumable
from metagym.cli.options import flag_is_set, read_pairs
from metagym.cli.out_folder import check_out
from metagym.cli.plan import announce
from metagym.cli.progress import progress
from metagym.cli.transfer import check_tasks_there, other_world, plan_transfer, score_there
from metagym.errors import ConfigError, MissingExtraError, UnknownNameError
from metagym.files import quoted

if TYPE_CHECKING:
    from metagym.evaluation.preset import Preset

ControlOption = Annotated[
    list[str] | None,
    Option(help="A control arm in place of those of the preset, repeatable; `none`: no control arms."),
]
FolderOption = Annotated[
    Path | None, Option("--out", "-o", help="The folder; the same command resumes its evaluation.")
]


ProtocolOption = Annotated[
    list[str] | None,
    Option(
        "--option",
        metavar="NAME=VALUE",
        help="A field of the protocol, repeatable: num_test=20, num_validation=10, episodes_per_step='[3, 5]', "
        "control='no reflection' (in place of the protocol's; control=none leaves all out); or an option of the "
        "environment: rows=questions.jsonl.",
    ),
]


def evaluate_command(
    context: Context,
    protocol_name: Annotated[
        str,
        Argument(
            metavar="PRESET or ENV",
            help="A preset (`metagym presets list`), your own .toml file, or an environment: an id that `metagym "
            "envs` lists, package.module:MyMetaEnv.",
        ),
    ],
    actor: model_options.ActorOption = None,
    reflector: model_options.ReflectorOption = None,
    budget: model_options.BudgetOption = None,
    sampling: model_options.SamplingOption = None,
    families: Annotated[
        str | None, Option(metavar="A,B,...", help="Families to evaluate; by default the preset's, or all.")
    ] = None,
    seeds: Annotated[int | None, Option(min=1, help="Meta-episodes of each family: the replicates.")] = None,
    steps: Annotated[int | None, Option("--steps", "-n", min=1, help="Meta-steps of each meta-episode.")] = None,
    option: ProtocolOption = None,
    out: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a reflector on held-out families, together with its noise floor and null controls.

    The budget holds for each environment and each batch size k. --dry-run prints the plan; --yes asks nothing.
    --test-on ENV[:FAMILY,...] also scores the learned prompts, and each control, in another environment.
    --train-on and --preset are other names for the argument.
    Short forms of --option: --control NAME, --reflector-sampling NAME=VALUE,...
    """
    from metagym.evaluation.campaign import check_names, run_campaign, run_streams
    from metagym.evaluation.campaign_folder import folder_name
    from metagym.evaluation.output.tables import (
        comparison_lines,
        interval_text,
        report_lines,
        stream_tables,
        transfer_tables,
    )
    from metagym.evaluation.plan import check_task_lists
    from metagym.evaluation.planned_use import plan
    from metagym.evaluation.preset import preset_names

    controls = _read_controls([value for name, value in _pairs(option) if name == "control"] or None)
    others = (f"{name}={value}" for name, value in _pairs(option) if name != "control")
    fields = read_pairs(others, texts=("reflector_sampling", "test_on"))
    reflector_sampling, test_on = fields.pop("reflector_sampling", None), fields.pop("test_on", None)
    given = {"families": families.split(",") if families else None, "num_seeds": seeds, "num_steps": steps}
    protocol = _read_protocol(
        protocol_name, {**fields, **{name: value for name, value in given.items() if value is not None}}
    )
    actor_spec = model_options.read_actor(actor, sampling)
    reflector_spec = model_options.read_reflector(reflector, reflector_sampling, actor=actor_spec)
    _print_models(protocol, actor_spec, reflector_spec)
    is_stream = protocol.protocol == "stream"
    limits, wanted = model_options.read_budget(budget), protocol.controls if controls is None else controls
    planned = plan(protocol.configs(), controls=wanted, is_stream=is_stream)
    shared: dict[str, Any] = {"actor": actor_spec, "reflector": reflector_spec, "budget": limits}
    configs = protocol.configs()
    elsewhere = None if test_on is None else other_world(test_on, protocol)
    if elsewhere is not None:
        check_tasks_there(elsewhere, protocol)
        more = plan_transfer(planned, elsewhere, protocol)
        there = [config.model_copy(update={"families": elsewhere.families}) for _, config in configs]
        planned, configs = [*planned, *more], [*configs, *((elsewhere, config) for config in there)]
    path = check_out(out or Path("runs") / f"evaluate-{protocol.name}", "evaluation")
    check_names(protocol.configs(), wanted)
    if flag_is_set(context, "--dry-run") and protocol_name not in preset_names() and not is_stream:
        check_task_lists(protocol.configs())
    announce(context, planned, configs, **shared, as_json=as_json)
    streams: list[Any] = []
    found: list[Any] = []
    with resumable(path, f"the same command with --out {quoted(path)}"), progress(path) as bars:
        bar = bars.add_task("episodes", total=None)
        arguments: dict[str, Any] = {
            **shared,
            "path": path,
            "controls": controls,
            "on_arm": lambda name, num: bars.reset(bar, total=num, description=name),
            "on_episode": lambda trajectory: bars.advance(bar),
        }
        if protocol.protocol == "stream":
            streams = run_streams(protocol, **arguments)
        else:
            found = run_campaign(protocol, **arguments)
        carried = [score_there(item, elsewhere, protocol, actor_spec, limits) for item in found if elsewhere]
    if as_json:
        print_json([*(report for evaluated in (*streams, *found) for report in evaluated.reports), *carried])
        return
    for guess in protocol.guessed:
        print_text(f"guessed: {guess}")
    for stream in streams:
        print_parts(stream_tables(stream.reports[0]))
        for comparison in stream.comparisons:
            print_text(f"online score, minus {comparison.second}: {interval_text(comparison.online)}")
            print_text(f"verdict: {comparison.verdict}")
    for evaluated in found:
        print_parts([*report_lines(evaluated.reports[0]), *comparison_lines(evaluated.comparisons)])
        folder = evaluated.folder
        print_text(f"\nThe records are in {folder}: metagym report {quoted(folder)} -o report.html")
        print_text(f"Tables: metagym show {quoted(folder / folder_name(evaluated.reports[0].arm))} --details")
        print_text(f"        metagym compare {quoted(folder)}\n" if evaluated.comparisons else "")
    for item in carried:
        print_parts(transfer_tables(item, test_on or ""))


def compare_command(
    runs: Annotated[
        list[Path], Argument(help="Evaluations, or folders of them; the first is compared with each other one.")
    ],
    endpoint: Annotated[str, Option(help="`chosen` (the primary endpoint) or `last`.")] = "chosen",
    margin: Annotated[float | None, Option(help="A difference that is too small to matter.")] = None,
    force: Annotated[bool, Option("--force", help="Compare also if the measurements differ.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare evaluated arms by paired differences per seed; families have equal weight."""
    from metagym.evaluation.comparison import compare
    from metagym.evaluation.output.tables import comparison_tables
    from metagym.evaluation.store import read_report

    if endpoint not in ("chosen", "last"):
        raise ConfigError(f"--endpoint must be 'chosen' or 'last', got {endpoint!r}.")
    reports = [read_report(run) for run in _arms(runs)]
    comparisons = compare(reports, endpoint=endpoint, margin=margin, force=force)  # type: ignore[arg-type]
    if as_json:
        print_json(comparisons)
    else:
        print_parts(comparison_tables(comparisons))


def arena_command(
    context: Context,
    methods: Annotated[
        list[str] | None,
        Argument(help="ict, best_of_n(ict), gepa, package.module:MyReflector, ...; by default all."),
    ] = None,
    preset: Annotated[str, Option(help="`arena-small`, `ict`, or your own .toml file.")] = "arena-small",
    actor: model_options.ActorOption = None,
    reflector_model: Annotated[
        str | None,
        Option(
            metavar="SPEC",
            help="The model that the methods ask: NAME@URL, NAME, FILE.json or `demo`; by default the actor's.",
        ),
    ] = None,
    learning_budget: Annotated[
        str | None,
        Option(
            metavar="NAME=N,...",
            help="What each meta-episode may use to learn: episodes=50,tokens=N,calls=N,cost=X; by default the "
            "preset's.",
        ),
    ] = None,
    budget: model_options.BudgetOption = None,
    sampling: model_options.SamplingOption = None,
    reflector_sampling: model_options.ReflectorSamplingOption = None,
    control: ControlOption = None,
    out: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run methods side by side: the same tasks and seeds, equal learning budgets, together with null controls.

    --budget holds for everything that is played on one environment with one batch size k. --dry-run prints the plan;
    --yes asks nothing.
    """
    from metagym.budget import Budget
    from metagym.evaluation.arena import run_arena
    from metagym.evaluation.arena.run import arena_configs, make_entrants, num_entrants
    from metagym.evaluation.campaign import check_names
    from metagym.evaluation.output.tables import standings_tables
    from metagym.evaluation.planned_use import plan
    from metagym.evaluation.preset import load_preset, with_members
    from metagym.reflectors import make_reflector
    from metagym.report import make_report

    actor_spec = model_options.read_actor(actor, sampling)
    protocol, controls = load_preset(preset), _read_controls(control)
    update: dict[str, object] = {} if controls is None else {"controls": controls}
    if learning_budget is not None:
        update["budget"] = Budget(**model_options.read_budget(learning_budget, option="--learning-budget"))
    protocol = with_members(protocol.model_copy(update=update))
    model = model_options.read_shared_model(reflector_model, reflector_sampling, actor=actor_spec)
    _print_models(protocol, actor_spec, model)
    limits = model_options.read_budget(budget)
    names = methods or ["all"]
    configs = arena_configs(protocol)
    path = check_out(out or Path("runs") / protocol.name, "arena")
    check_names(configs, protocol.controls)
    if flag_is_set(context, "--dry-run"):  # no model is needed to see whether the methods exist
        make_entrants(names, model={"model": "demo"}, demo=lambda: make_reflector("fixed"))
    planned = plan(configs, controls=protocol.controls, num_methods=num_entrants(names))
    announce(context, planned, configs, actor=actor_spec, reflector=model, budget=limits, as_json=as_json)
    with resumable(path, f"the same command with --out {quoted(path)}"), progress(path) as bars:
        bar = bars.add_task("episodes", total=None)
        bouts = run_arena(
            protocol,
            names,
            actor=actor_spec,
            model=model,
            path=path,
            limits=limits,
            on_arm=lambda name, num: bars.reset(bar, total=num, description=name),
            on_episode=lambda trajectory: bars.advance(bar),
        )
    if as_json:
        print_json([bout.standings for bout in bouts])
        return
    for bout in bouts:
        print_parts(standings_tables(bout.standings))
        curves = " and their curves" if bout.standings.curves else ""
        print_text(f"\nThe records, the standings (arena.md, .csv, .json){curves} are in {bout.folder}.")
    try:
        print_text(f"The report to look at: {make_report([path], path / 'report.html').path}")
    except MissingExtraError as error:
        print_text(str(error))


def _pairs(options: list[str] | None) -> list[tuple[str, str]]:
    split = [option.partition("=") for option in options or ()]
    if wrong := next((name for name, equals, _ in split if not equals), None):
        raise ConfigError(f"--option expects NAME=VALUE, got {wrong!r}.")
    return [(name, value) for name, _, value in split]


def _read_protocol(name: str, given: dict[str, Any]) -> Preset:
    """Return the preset of that name, or the protocol of an own measurement, with the changes of the options."""
    from metagym.evaluation.preset import (
        Preset,
        PresetEnvironment,
        load_preset,
        preset_for,
        preset_names,
        with_fields,
        with_members,
    )
    from metagym.registration import meta_env_ids

    known = {*Preset.model_fields, *PresetEnvironment.model_fields}
    fields = {key: value for key, value in given.items() if key in known}
    if isinstance(fields.get("episodes_per_step"), int):
        fields["episodes_per_step"] = [fields["episodes_per_step"]]
    options = {key: value for key, value in given.items() if key not in known}
    if name.endswith(".toml") or name in preset_names():
        found = load_preset(name)
        places = [{**item.options, **options} for item in found.environments]
        found = found.model_copy(
            update={
                "environments": tuple(
                    item.model_copy(update={"options": own})
                    for item, own in zip(found.environments, places, strict=True)
                )
            }
        )
        return with_members(with_fields(found, fields))
    if ":" not in name and name not in meta_env_ids() and not re.search(r"-v\d+$", name):
        raise UnknownNameError.of("preset or environment", name, (*preset_names(), *meta_env_ids()))
    found = with_fields(preset_for(name, families=fields.pop("families", None), options=options), fields)
    return with_members(found) if "train_families" in fields else found


def _print_models(protocol: Preset, actor: Any, reflector: Any) -> None:
    from metagym.evaluation.preset import with_sampling

    model_options.print_models(
        with_sampling(actor, protocol.sampling), with_sampling(reflector, protocol.reflector_sampling)
    )


def _read_controls(given: list[str] | None) -> tuple[str, ...] | None:
    if given is None:
        return None  # those of the preset
    if "none" in given and len(given) > 1:
        raise ConfigError(f"--control none leaves no control arms, so it is given alone; got {', '.join(given)}.")
    return tuple(name for name in given if name != "none")


def _arms(paths: list[Path]) -> list[Path]:
    """Return the run folders at and below the paths; in an evaluation's folder its own arm comes before controls."""
    from metagym.evaluation.controls import is_control, recorded_kind
    from metagym.runs import read_manifest
    from metagym.runs.watching.watcher import run_folders

    found: list[Path] = []
    for path in paths:
        kinds = {folder: recorded_kind(read_manifest(folder).evaluation) for folder in run_folders(path)}
        below = [folder for folder, kind in kinds.items() if folder == path or kind != "tuning"]
        found += sorted(below, key=lambda folder: is_control(kinds[folder])) or [path]
    return list(dict.fromkeys(found))
