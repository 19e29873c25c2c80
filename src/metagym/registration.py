"""The ids `MetaGym/...`, and how a meta-environment is made from an id or an import path.

Importing this module registers the ids, and imports no environment: that happens when one is made.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final, get_type_hints

import gymnasium
from gymnasium.envs.registration import register

from metagym.errors import ConfigError, UnknownNameError
from metagym.imports import import_object

if TYPE_CHECKING:
    from metagym.env import MetaEnv
    from metagym.vector import MetaVectorEnv

META_EPISODE_LENGTH = 10
"""Meta-steps in a meta-episode, as registered; `gym.make(..., max_episode_steps=N)` changes it."""

for _id, _meta_env, _vector_env in (
    ("MetaGym/Gates-v0", "metagym.envs.gates.meta:GatesMetaEnv", "metagym.registration:make_gates_vector"),
    ("MetaGym/MiniHack-v0", "metagym.envs.minihack.meta:MiniHackMetaEnv", "metagym.registration:make_minihack_vector"),
    ("MetaGym/ALFWorld-v0", "metagym.envs.alfworld.meta:ALFWorldMetaEnv", "metagym.registration:make_alfworld_vector"),
    ("MetaGym/BabyAI-v0", "metagym.envs.babyai.meta:BabyAIMetaEnv", "metagym.registration:make_babyai_vector"),
    ("MetaGym/Tools-v0", "metagym.envs.tools.meta:ToolsMetaEnv", "metagym.registration:make_tools_vector"),
    (
        "MetaGym/Reasoning-v0",
        "metagym.envs.reasoning.meta:ReasoningMetaEnv",
        "metagym.registration:make_reasoning_vector",
    ),
    (
        "MetaGym/ScienceWorld-v0",
        "metagym.envs.scienceworld.meta:ScienceWorldMetaEnv",
        "metagym.registration:make_scienceworld_vector",
    ),
    (
        "MetaGym/TextWorldExpress-v0",
        "metagym.envs.textworldexpress.meta:TextWorldExpressMetaEnv",
        "metagym.registration:make_textworldexpress_vector",
    ),
    (
        "MetaGym/Questions-v0",
        "metagym.envs.questions.meta:QuestionsMetaEnv",
        "metagym.registration:make_questions_vector",
    ),
):
    register(_id, _meta_env, max_episode_steps=META_EPISODE_LENGTH, vector_entry_point=_vector_env)
register("MetaGym/GatesText-v0", "metagym.envs.gates.env:GatesEnv")
register("MetaGym/MiniHackText-v0", "metagym.envs.minihack.env:MiniHackTextEnv")
register("MetaGym/ALFWorldText-v0", "metagym.envs.alfworld.env:ALFWorldTextEnv")
register("MetaGym/BabyAIText-v0", "metagym.envs.babyai.env:BabyAITextEnv")
register("MetaGym/ToolsText-v0", "metagym.envs.tools.env:ToolsEnv")
register("MetaGym/ReasoningText-v0", "metagym.envs.reasoning.env:ReasoningEnv")
register("MetaGym/ScienceWorldText-v0", "metagym.envs.scienceworld.env:ScienceWorldEnv")
register("MetaGym/TextWorldExpressText-v0", "metagym.envs.textworldexpress.env:TextWorldExpressEnv")
register("MetaGym/QuestionsText-v0", "metagym.envs.questions.env:QuestionEnv")

NEEDS: Final = {
    "MetaGym/MiniHack-v0": ("minihack", "minihack"),
    "MetaGym/BabyAI-v0": ("babyai", "minigrid"),
    "MetaGym/Reasoning-v0": ("reasoning", "reasoning_gym"),
    "MetaGym/ScienceWorld-v0": ("scienceworld", "scienceworld"),
    "MetaGym/TextWorldExpress-v0": ("textworld-express", "textworld_express"),
    "MetaGym/Tools-v0": ("bfcl-eval", "bfcl_eval"),
}
"""The ids that need an extra (or a package with its own command): its name, and a module that it brings."""
RESERVED: Final = {
    "actor": "write --actor SPEC",
    "budget": "write --budget tokens=N,calls=N,cost=X,episodes=N",
    "max_episode_steps": "the number of meta-steps is --steps N (num_steps in a preset)",
    "num_steps": "the number of meta-steps is --steps N (num_steps in a preset)",
    "on_episode": "it is a function, which only Python can pass",
    "render_mode": "`metagym show RUN --step 0` prints the episodes of a meta-step",
}
"""Names that a user cannot give as an option in text (on a command line, in a preset), and the remedy."""

_VERSIONED = re.compile(r"-v\d+$")


def make(env_id: str, *, num_steps: int | None = None, **options: Any) -> gymnasium.Env[Any, str]:
    """Make a meta-environment whose meta-episode is at least `num_steps` long; by default as registered.

    `env_id` is a registered id, or the import path of your own class, `package.module:MyMetaEnv`. `options` are
    those of `gymnasium.make`.

    >>> with make("MetaGym/Gates-v0", actor="demo") as env:
    ...     env.unwrapped.config.episodes_per_step
    5
    """
    if num_steps is not None and (not isinstance(num_steps, int) or num_steps < 1):
        raise ConfigError(f"num_steps must be a whole number of meta-steps, 1 or more, got {num_steps!r}.")
    found = find_class(env_id)
    module, _, name = env_id.rpartition(":")
    env_id = name if module and name in gymnasium.registry else env_id
    known = _option_types(found)
    for name in options:
        if name == "max_episode_steps":
            raise ConfigError("'max_episode_steps' is not an option here: pass num_steps, the number of meta-steps.")
        _check_name(name, known)
    if ":" in env_id:
        return found(**options)
    return gymnasium.make(env_id, max_episode_steps=num_steps, **options)


def check_options(env_id: str, options: Mapping[str, Any], *, reserved: Mapping[str, str] = RESERVED) -> None:
    """Check the options of an environment that a user wrote as text: on a command line or in a preset.

    `reserved` maps each name that is set in another way there to the text of the remedy. Checked are the names, and the
    types of the constructor's own options; the values of `MetaEnvConfig` are checked when the environment is made.

    >>> check_options("MetaGym/Gates-v0", {"episodes_per_step": 3})
    """
    from pydantic import TypeAdapter, ValidationError

    types = _option_types(find_class(env_id))
    for name, value in options.items():
        if name in reserved:
            raise ConfigError(f"{name!r} is not an option of the environment: {reserved[name]}.")
        _check_name(name, types.keys() - reserved.keys())
        try:
            TypeAdapter(types[name]).validate_python(value)
        except ValidationError as error:
            raise ConfigError(f"Option {name!r} got {value!r}: {error.errors()[0]['msg']}.") from None


def find_class(env_id: str) -> type[MetaEnv]:
    """Return the class of a meta-environment by its id or import path, without making one."""
    from metagym.env import MetaEnv

    path: Any = env_id
    module, _, name = env_id.rpartition(":")
    if module and _VERSIONED.search(name):  # as in Gymnasium: import the module, which registers the id
        import_object(f"{module}:__name__")
    if name in gymnasium.registry:
        path = gymnasium.spec(name).entry_point
    found = import_object(path) if isinstance(path, str) and ":" in path else path
    if isinstance(found, type) and issubclass(found, MetaEnv):
        return found
    if module:
        raise ConfigError(f"Expected the import path of a subclass of metagym.MetaEnv, got {env_id!r}.")
    remedy = (
        "Name your own class by its import path, package.module:MyMetaEnv, or the id that your module registers: "
        "package.module:MyId-v0."
    )
    raise UnknownNameError.of("meta-environment", env_id, meta_env_ids(), remedy=remedy)


def _check_name(name: str, known: Collection[str]) -> None:
    if name not in known:
        raise UnknownNameError.of("option", name, sorted(known), remedy=f"All options: {', '.join(sorted(known))}.")


def _option_types(found: type[MetaEnv]) -> dict[str, Any]:
    """Return the options that a class's constructor takes, with their types; Any if a type cannot be read."""
    from metagym.config import MetaEnvConfig
    from metagym.env import MetaEnv

    types: dict[str, Any] = {}
    for base in (base for base in found.__mro__ if "__init__" in vars(base)):
        constructor: Any = vars(base)["__init__"]
        parameters = list(inspect.signature(constructor).parameters.values())[1:]
        try:
            hints = get_type_hints(constructor)
        except NameError:  # a name that is imported for the type checker only
            hints = {}
        for parameter in parameters:
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                types.setdefault(parameter.name, hints.get(parameter.name, Any))
        if base is MetaEnv:
            types = dict.fromkeys(MetaEnvConfig.model_fields, Any) | types
        if base is MetaEnv or all(parameter.kind != parameter.VAR_KEYWORD for parameter in parameters):
            break
    return types


def meta_env_ids() -> list[str]:
    """Return the ids of the registered meta-environments."""
    own = [spec for spec in gymnasium.registry.values() if spec.namespace == "MetaGym"]
    return sorted(spec.id for spec in own if not spec.name.endswith("Text"))


def missing_package(env_id: str) -> str | None:
    """Return the extra (or package) that must be installed before the id can be made; None if nothing is missing."""
    extra, package = NEEDS.get(env_id, ("", ""))
    return extra if extra and importlib.util.find_spec(package) is None else None


def _make_vector(env_id: str, num_envs: int, **options: Any) -> MetaVectorEnv:
    from metagym.vector import MetaVectorEnv

    return MetaVectorEnv(find_class(env_id), num_envs, **options)


# For `gymnasium.make_vec`, which wants an import path.
make_gates_vector = functools.partial(_make_vector, "MetaGym/Gates-v0")
make_babyai_vector = functools.partial(_make_vector, "MetaGym/BabyAI-v0")
make_reasoning_vector = functools.partial(_make_vector, "MetaGym/Reasoning-v0")
make_minihack_vector = functools.partial(_make_vector, "MetaGym/MiniHack-v0")
make_alfworld_vector = functools.partial(_make_vector, "MetaGym/ALFWorld-v0")
make_tools_vector = functools.partial(_make_vector, "MetaGym/Tools-v0")
make_scienceworld_vector = functools.partial(_make_vector, "MetaGym/ScienceWorld-v0")
make_textworldexpress_vector = functools.partial(_make_vector, "MetaGym/TextWorldExpress-v0")
make_questions_vector = functools.partial(_make_vector, "MetaGym/Questions-v0")
