"""Options of the first release: each is refused with what to write instead."""

from __future__ import annotations

from typing import Any, Final

from typer.core import TyperCommand

_FILE = '{"model": NAME, "base_url": URL, "api_key_env": VARIABLE, "client": {...}}'
INSTEAD: Final = {
    "--model": "--actor NAME@URL, or --actor NAME for OpenAI; the reflector has the same model by default",
    "--base-url": "the server behind the model's name: --actor NAME@URL",
    "--api-key-env": f"--actor FILE.json, and in the file {_FILE}",
    "--actor-model": "--actor NAME@URL, or --actor NAME for OpenAI",
    "--actor-base-url": "the server behind the model's name: --actor NAME@URL",
    "--reflector-model": "--reflector NAME@URL, or --reflector METHOD:NAME@URL",
    "--reflector-base-url": "the server behind the model's name: --reflector NAME@URL",
    "--client": f"--actor FILE.json, and in the file {_FILE}",
    "--max-tokens": "--budget tokens=N (the length of a reply is --sampling max_tokens=N)",
    "--max-calls": "--budget calls=N",
    "--max-cost": "--budget cost=X",
    "--prompt": "--option first_prompt=@FILE",
    "--replay": "--option replay=FILE",
    "--no-controls": "--control none",
    "--reflectors": "the methods as arguments: metagym arena ict gepa",
    "--price-prompt": "--prices prompt=X,completion=Y",
    "--price-completion": "--prices prompt=X,completion=Y",
}
"""Old option: what to write instead."""
INSTEAD_OF: Final = {"grpo": {"--model": "--reflector FOLDER, or a hub name"}}
"""Command: its old options that other commands replaced by something else."""


class Command(TyperCommand):
    """A command that names the new spelling if it is given an old one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, or refuse an old option in one sentence."""
        known = {name for parameter in self.params for name in parameter.opts}
        instead = INSTEAD | INSTEAD_OF.get(str(self.name), {})
        for word in args:
            old = word.partition("=")[0]
            if old in instead and old not in known:
                ctx.fail(f"{old} is no longer an option: write {instead[old]}.")
        return super().parse_args(ctx, args)
