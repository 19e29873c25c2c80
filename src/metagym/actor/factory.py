"""From specs to live actors: a mapping, a name, an import path, or a plain function."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from metagym.actor.actor import Actor, RandomActor
from metagym.actor.chat import ChatActor
from metagym.actor.retrieval import ReadPrompt, retrieve_items
from metagym.actor.tools import ToolActor
from metagym.errors import ConfigError, UnknownNameError
from metagym.imports import import_object
from metagym.models import MODEL_KEYS, ChatModel, is_local, is_model_name, make_model, model_from_environment
from metagym.optional_attributes import describe, extension_of
from metagym.types import Action, Episode, Observation, Step


class ScriptedActorWarning(UserWarning):
    """Warns that a script plays, because no model was named."""


ACTOR_KEYS = (*MODEL_KEYS, "history_steps", "context_tokens", "reply_format", "constrain", "retrieve_items", "act")
WAYS_TO_ACT = ("auto", "text", "tools")
"""How a model acts: `tools` by calling them, `text` by a line of text; `auto` by tools if the environment offers some.
"""
ActorSpec = Actor | Callable[..., Any] | Mapping[str, Any] | str | None


def make_actor(actor: ActorSpec, *, demo: Callable[[], Actor] | None = None, offers_tools: bool = False) -> Actor:
    """Return the actor that `actor` names.

    A spec is an actor, a function, a mapping (`model`, `base_url`, `api_key_env`, `sampling`, `timeout_s`,
    `max_retries`, `client`, `server`, `history_steps`, `context_tokens`, `reply_format`, `constrain`, `act` (see
    `WAYS_TO_ACT`), and `retrieve_items`: its `top_k` or a mapping of its arguments), `"demo"`, `"random"`, `"local"`
    (the language model on this machine, whose replies are held to their form), an import path
    `"package.module:MyActor"`, or None. None means the model that METAGYM_MODEL names, else the demo actor, with a
    warning. `offers_tools` says whether the environment offers tools.
    """
    if actor is None:
        actor = model_from_environment()
        if actor is None:
            if demo is None:
                raise ConfigError(
                    "Expected an actor, got nothing. Pass actor={'model': ..., 'base_url': ...}, set METAGYM_MODEL, "
                    "or pass actor='random'."
                )
            warnings.warn(
                "No model is named, so a script plays: it is no language model. Set METAGYM_MODEL, "
                "pass actor={'model': ..., 'base_url': ...}, or pass actor='demo' to silence this warning.",
                ScriptedActorWarning,
                stacklevel=2,
            )
            return demo()
    if isinstance(actor, str) and is_model_name(actor):
        actor = {"model": actor}
    if isinstance(actor, Mapping):
        model = make_model(actor, known=ACTOR_KEYS)
        options = {name: value for name, value in actor.items() if name not in (*MODEL_KEYS, "retrieve_items", "act")}
        if is_local(actor["model"]) and actor.get("base_url") is None:
            options.setdefault("constrain", "auto")  # models of this size keep no form by themselves
        if _acts_by_tools(actor.get("act", "auto"), offers_tools):
            return _tool_actor(model, options, _read_prompt(actor.get("retrieve_items")))
        return ChatActor(model, **options, read_prompt=_read_prompt(actor.get("retrieve_items")))
    if isinstance(actor, str):
        return _actor_from_name(actor, demo)
    if hasattr(actor, "act"):
        return cast(Actor, actor)
    if callable(actor):
        return FunctionActor(actor)
    raise ConfigError(f"Expected an actor, a function, a mapping or a name, got {type(actor).__name__}.")


def _acts_by_tools(act: Any, offers_tools: bool) -> bool:
    if act not in WAYS_TO_ACT:
        raise UnknownNameError.of("act", act, WAYS_TO_ACT)
    return bool(act == "tools" or (act == "auto" and offers_tools))


def _tool_actor(model: ChatModel, options: Mapping[str, Any], read_prompt: ReadPrompt | None) -> ToolActor:
    if others := sorted(options.keys() - {"context_tokens", "history_steps", "constrain"}):
        raise ConfigError(
            f"{others[0]!r} is for an actor that writes its actions as text, and this one calls tools. Remove it, or "
            "write act='text' if the environment offers no tools."
        )
    return ToolActor(model, **options, read_prompt=read_prompt)


def _read_prompt(items: int | Mapping[str, Any] | None) -> ReadPrompt | None:
    if items is None:
        return None
    arguments = items if isinstance(items, Mapping) else {"top_k": items}
    try:
        return retrieve_items(**arguments)
    except TypeError as error:
        raise ConfigError(f"'retrieve_items' expects top_k, or the arguments of retrieve_items: {error}.") from None


def _actor_from_name(name: str, demo: Callable[[], Actor] | None) -> Actor:
    if name == "random":
        return RandomActor()
    if name == "demo":
        if demo is None:
            raise ConfigError("This environment has no demo actor. Pass actor={'model': ...} or actor='random'.")
        return demo()
    if ":" not in name:
        raise UnknownNameError.of(
            "actor", name, ("demo", "random", "local"), remedy="A model is named by a mapping: actor={'model': ...}."
        )
    found: Any = import_object(name)
    return make_actor(found() if isinstance(found, type) else found)


class FunctionActor:
    """Adapts a plain or async function `(episode, steps, observation) -> Action | str` to an actor."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.scripted: bool = extension_of(function).scripted
        self.fingerprint = {"kind": "function", "name": describe(function)}

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Call the function; a str that it returns is the action's text."""
        action = self._function(episode, steps, observation)
        if inspect.isawaitable(action):
            action = await action
        return Action(text=action) if isinstance(action, str) else cast(Action, action)
