"""The complete examination; each check comes after those that it depends on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from metagym.doctor.finding import Finding, ok, problem
from metagym.doctor.machine import check_folders, check_gpu, check_terminal
from metagym.doctor.packages import check_minihack, check_namesake, check_packages, check_python
from metagym.doctor.server import check_server
from metagym.errors import ConfigError


def examine(
    environ: Mapping[str, str],
    *,
    model: str | None = None,
    base_url: str | None = None,
    api_key_env: str | None = None,
) -> Iterator[Finding]:
    """Check the installation, the data, the machine and the model server; one problem hides no other.

    It plays nothing, changes nothing, and asks no model for a reply.
    """
    yield check_python()
    yield from check_namesake()
    yield from check_packages()
    yield from check_minihack()
    yield check_games()
    yield from check_folders(environ)
    yield from check_terminal()
    yield check_gpu()
    yield from check_server(environ, model=model, base_url=base_url, api_key_env=api_key_env)


def check_games() -> Finding:
    """Check that ALFWORLD_DATA, if it is set, names the official games."""
    from metagym.envs.alfworld.official_games import find_games_folder

    try:
        folder = find_games_folder()
    except ConfigError as error:
        return problem("games", str(error), "alfworld-download, then export ALFWORLD_DATA=FOLDER; or unset it")
    if folder is None:
        return ok("games", "ALFWORLD_DATA is not set: ALFWorld plays generated games")
    return ok("games", f"ALFWorld plays the official games in {folder}")
