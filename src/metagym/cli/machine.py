"""The resources of this machine: `metagym envs`, `alfworld generate`, `minihack levels`, `doctor` and `serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from rich.markup import escape
from rich.table import Table
from rich.text import Text
from typer import Argument, Exit, Option

from metagym.cli.console import JsonOption, console, errors, print_json, print_text
from metagym.cli.model_options import read_model
from metagym.errors import ConfigError
from metagym.rendering import plural

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def envs_command(as_json: JsonOption = False) -> None:
    """List the meta-environments. Your own class is named by its import path, `package.module:MyMetaEnv`."""
    import gymnasium

    from metagym.imports import install_command
    from metagym.registration import meta_env_ids, missing_package

    rows = []
    table = Table("id", "meta-steps", "ready")
    for env_id in meta_env_ids():
        length, missing = gymnasium.spec(env_id).max_episode_steps, missing_package(env_id)
        rows.append({"id": env_id, "max_episode_steps": length, "missing": missing})
        table.add_row(env_id, str(length), escape(f"no: {install_command(missing)}") if missing else "yes")
    if as_json:
        print_json(rows)
    else:
        console.print(table)


def alfworld_generate_command(
    out: Annotated[Path, Option("--out", "-o", help="The folder to write to, laid out as ALFWORLD_DATA.")],
    family: Annotated[list[str] | None, Option(help="A task type, repeatable; by default all six.")] = None,
    games: Annotated[int, Option(min=1, help="Games of each family.")] = 100,
    first_seed: Annotated[int, Option(min=0, help="The seed of the first game.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Write generated games in the layout of the official ones, for stock ALFWorld. Scores are not ALFWorld's."""
    from metagym.envs.alfworld.generated.export import write_games

    written = write_games(out, families=family, num_games=games, first_seed=first_seed)
    if as_json:
        print_json(written)
    else:
        console.print(f"{len(written)} generated games are in {out}: export ALFWORLD_DATA={out}", soft_wrap=True)


def minihack_levels_command(
    ids: Annotated[list[str] | None, Argument(help="Families or groups; by default the default mix.")] = None,
    seeds: Annotated[int, Option(min=1, help="Seeds to look at for each family; about 1 ms each.")] = 1000,
    as_json: JsonOption = False,
) -> None:
    """Count the distinct starts of each family: the levels that there really are to split."""
    from metagym.envs.minihack.families import DEFAULT_FAMILIES, expand_families
    from metagym.envs.minihack.tasks import count_starts

    table = Table("family", "seeds", "distinct starts", "levels, at least")
    rows = []
    for count in count_starts(expand_families(ids or DEFAULT_FAMILIES), num_seeds=seeds):
        numbers = {"num_seeds": count.num_seeds, "num_levels": count.num_levels, "estimate": count.estimate}
        rows.append({"family": count.family, **numbers})
        table.add_row(count.family, *map(str, numbers.values()))
    if as_json:
        print_json(rows)
    else:
        console.print(table)


def doctor_command(
    actor: Annotated[
        str | None,
        Option(
            metavar="SPEC",
            help="The model whose server is checked: NAME@URL, NAME or FILE.json, as for `metagym run`; by default "
            "METAGYM_MODEL.",
        ),
    ] = None,
    fix: Annotated[
        bool, Option("--fix", help="Print only the one command that fixes all that a command can fix.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Find the problems of this installation, and print the command that fixes each. Exit code 1 if there is one."""
    from metagym.doctor import State, examine, fix_command

    model = {} if actor is None else read_model("--actor", actor)
    named = {name: model.get(name) for name in ("model", "base_url", "api_key_env")}
    findings = list(examine(os.environ, **named))
    problems, warnings = (sum(item.state is state for item in findings) for state in (State.PROBLEM, State.WARNING))
    if fix:
        one, by_hand = fix_command(findings)
        print_text(one or "# No command is needed.")
        for finding in by_hand:
            print_text(f"By hand: {finding.topic}: {finding.remedy}", to=errors)
    elif as_json:
        print_json(findings)
    else:
        width = max(len(finding.topic) for finding in findings)
        for finding in findings:
            line = Text(f"{finding.state:<8}", style=_STYLES[finding.state])
            console.print(line.append(f" {finding.topic:<{width}}  {finding.message}", style="default"), soft_wrap=True)
            if finding.remedy:
                console.print(Text(f"{'':<8} {'':<{width}}  -> {finding.remedy}", style="bold"), soft_wrap=True)
        console.print(f"{plural(problems, 'problem')}, {plural(warnings, 'warning')}.", highlight=False)
    if problems:
        raise Exit(1)


def serve_command(
    model: Annotated[str, Argument(help="The model's name or folder, a GGUF file, or the name of a fetched one.")],
    engine: Annotated[
        str | None, Option(help="`llama.cpp` (GGUF files), `vllm` or `transformers`; by default the one that fits.")
    ] = None,
    port: Annotated[int | None, Option(help="By default a free one.")] = None,
    timeout: Annotated[float, Option(help="Seconds to wait until it answers.")] = 600.0,
    engine_option: Annotated[
        list[str] | None, Option("--engine-option", help="A further argument of the engine's command line.")
    ] = None,
) -> None:
    """Serve a model on loopback until Ctrl-C. No process is left behind, however this command ends."""
    from metagym.models import ModelServer

    if engine not in (None, "llama.cpp", "vllm", "transformers"):
        raise ConfigError(f"--engine must be 'llama.cpp', 'vllm' or 'transformers', got {engine!r}.")
    with ModelServer(model, engine=engine, port=port, options=engine_option or (), timeout_s=timeout) as server:  # type: ignore[arg-type]
        print_text(
            f"{server.model} answers at {server.base_url}; its log is {server.log}\n"
            f"metagym run MetaGym/Gates-v0 --actor {server.model}@{server.base_url}\nCtrl-C ends it."
        )
        try:
            code = server.wait()
        except KeyboardInterrupt:
            return
    raise Exit(code)
