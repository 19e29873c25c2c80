"""Actors: what plays the inner environment under a prompt. They hold no state between calls.

protocol    Actor: one method
chat        ChatActor: a language model that reasons and acts in turns
replies     reading `Thought: ... Action: ...`
retrieval   which items of a prompt are sent, picked by goal and observation
factory     make_actor: from a spec to a live actor; RandomActor; plain functions
"""

from metagym.actors.chat import REPLY_FORMAT, ChatActor
from metagym.actors.factory import ActorSpec, FunctionActor, RandomActor, ScriptedActorWarning, make_actor
from metagym.actors.protocol import Actor
from metagym.actors.replies import read_reply
from metagym.actors.retrieval import MEMORY_HEADING, ReadPrompt, retrieve_items

__all__ = [
    "MEMORY_HEADING",
    "REPLY_FORMAT",
    "Actor",
    "ActorSpec",
    "ChatActor",
    "FunctionActor",
    "RandomActor",
    "ReadPrompt",
    "ScriptedActorWarning",
    "make_actor",
    "read_reply",
    "retrieve_items",
]
