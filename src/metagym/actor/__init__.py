"""Actors: they play the inner environment under a prompt, and keep nothing between calls.

actor      Actor: one method; RandomActor: a random available action
chat       ChatActor: a language model that plays in turns, its conversation, and the forms of its reply
tools      ToolActor: a language model that calls tools; tool_turns: the calls of a reply, and steps in turns
retrieval  retrieve_items: send only the items of a prompt that fit goal and observation
factory    make_actor: from a spec (a mapping, a name, a function) to a live actor
"""

from metagym.actor.actor import Actor, RandomActor, tools_at
from metagym.actor.chat import REPLY_FORMATS, ChatActor, read_reply
from metagym.actor.factory import ActorSpec, FunctionActor, ScriptedActorWarning, make_actor
from metagym.actor.retrieval import MEMORY_HEADING, ReadPrompt, retrieve_items
from metagym.actor.tool_turns import ToolTurn, read_calls, turns_of
from metagym.actor.tools import ToolActor

__all__ = [
    "MEMORY_HEADING",
    "REPLY_FORMATS",
    "Actor",
    "ActorSpec",
    "ChatActor",
    "FunctionActor",
    "RandomActor",
    "ReadPrompt",
    "ScriptedActorWarning",
    "ToolActor",
    "ToolTurn",
    "make_actor",
    "read_calls",
    "read_reply",
    "retrieve_items",
    "tools_at",
    "turns_of",
]
