"""Check an installation, its data, its machine and its model server; name the command that fixes each problem."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from metagym.doctor.finding import Finding, State, fix_command
from metagym.doctor.machine import check_folders, check_gpu, check_terminal
from metagym.doctor.packages import (
    check_games,
    check_minihack,
    check_namesake,
    check_packages,
    check_python,
    check_tools,
)
from metagym.doctor.server import check_server

__all__ = ["Finding", "State", "examine", "fix_command"]


def examine(
    environ: Mapping[str, str], *, model: str | None = None, base_url: str | None = None, api_key_env: str | None = None
) -> Iterator[Finding]:
    """Check the installation, the data, the machine and the model server; one problem hides no other.

    Each check comes after those that it depends on. It plays nothing, changes nothing, and
    asks a model for a reply only if its server is on this machine.
    """
    yield check_python()
    yield from check_namesake()
    yield from check_packages()
    yield from check_minihack()
    yield check_games()
    yield check_tools()
    yield from check_folders(environ)
    yield check_terminal()
    yield check_gpu()
    yield from check_server(environ, model=model, base_url=base_url, api_key_env=api_key_env)
