"""The ids `MetaGym/...`, and how a meta-environment is made from an id or an import path.

Importing this module registers the ids, and imports no environment: that happens when one is made.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import gymnasium
from gymnasium.envs.registration import register

from metagym.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from metagym.vector import MetaVectorEnv

META_EPISODE_LENGTH = 10
"""Meta-steps in a meta-episode, as registered; `gym.make(..., max_episode_steps=N)` changes it."""

register(
    id="MetaGym/Gates-v0",
    entry_point="metagym.envs.gates.meta:GatesMetaEnv",
    vector_entry_point="metagym.registration:make_gates_vector",
    max_episode_steps=META_EPISODE_LENGTH,
)
register(
    id="MetaGym/MiniHack-v0",
    entry_point="metagym.envs.minihack.meta:MiniHackMetaEnv",
    vector_entry_point="metagym.registration:make_minihack_vector",
    max_episode_steps=META_EPISODE_LENGTH,
)
register(
    id="MetaGym/ALFWorld-v0",
    entry_point="metagym.envs.alfworld.meta:ALFWorldMetaEnv",
    vector_entry_point="metagym.registration:make_alfworld_vector",
    max_episode_steps=META_EPISODE_LENGTH,
)
register(id="MetaGym/GatesText-v0", entry_point="metagym.envs.gates.env:GatesEnv")
register(id="MetaGym/MiniHackText-v0", entry_point="metagym.envs.minihack.env:MiniHackTextEnv")
register(id="MetaGym/ALFWorldText-v0", entry_point="metagym.envs.alfworld.env:ALFWorldTextEnv")

_PACKAGE_OF = {"MiniHack": "minihack"}


def make(env_id: str, *, num_steps: int | None = None, **options: Any) -> gymnasium.Env[Any, str]:
    """Make a meta-environment whose meta-episode is at least `num_steps` long; by default as registered.

    `env_id` is a registered id, or the import path of your own class, `package.module:MyMetaEnv`. `options` are
    those of `gymnasium.make`.

    >>> with make("MetaGym/Gates-v0", actor="demo") as env:
    ...     env.unwrapped.config.episodes_per_step
    5

    Raises:
        ConfigError: the id is unknown, or it is not a meta-environment.
    """
    from metagym.env import MetaEnv
    from metagym.imports import import_object

    if ":" in env_id:
        found = import_object(env_id)
        if not (isinstance(found, type) and issubclass(found, MetaEnv)):
            raise ConfigError(f"Expected the import path of a subclass of metagym.MetaEnv, got {env_id!r}.")
        return found(**options)
    known = meta_env_ids()
    if env_id not in known:
        remedy = "Name your own class by its import path: package.module:MyMetaEnv."
        raise UnknownNameError.of("meta-environment", env_id, known, remedy=remedy)
    return gymnasium.make(env_id, max_episode_steps=num_steps, **options)


def meta_env_ids() -> list[str]:
    """Return the ids of the registered meta-environments."""
    return sorted(
        spec.id
        for spec in gymnasium.registry.values()
        if spec.namespace == "MetaGym" and not spec.name.endswith("Text")
    )


def missing_package(env_id: str) -> str | None:
    """Return the extra that must be installed before the id can be made; None if nothing is missing."""
    package = _PACKAGE_OF.get(gymnasium.spec(env_id).name)
    return package if package is not None and importlib.util.find_spec(package) is None else None


def make_gates_vector(num_envs: int, **options: Any) -> MetaVectorEnv:
    """Make the vector environment over Gates, for `gymnasium.make_vec`."""
    from metagym.envs.gates.meta import GatesMetaEnv
    from metagym.vector import MetaVectorEnv

    return MetaVectorEnv(GatesMetaEnv, num_envs, **options)


def make_minihack_vector(num_envs: int, **options: Any) -> MetaVectorEnv:
    """Make the vector environment over MiniHack, for `gymnasium.make_vec`."""
    from metagym.envs.minihack.meta import MiniHackMetaEnv
    from metagym.vector import MetaVectorEnv

    return MetaVectorEnv(MiniHackMetaEnv, num_envs, **options)


def make_alfworld_vector(num_envs: int, **options: Any) -> MetaVectorEnv:
    """Make the vector environment over ALFWorld, for `gymnasium.make_vec`."""
    from metagym.envs.alfworld.meta import ALFWorldMetaEnv
    from metagym.vector import MetaVectorEnv

    return MetaVectorEnv(ALFWorldMetaEnv, num_envs, **options)
