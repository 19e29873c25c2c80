"""Actors: they play the inner environment under a prompt, and keep nothing between calls.

actor         Actor: one method; RandomActor: a random available action
chat          ChatActor: a language model that plays in turns, and the conversation that is sent to it
reply_format  the forms of a reply, and how it is read
retrieval     retrieve_items: send only the items of a prompt that fit goal and observation
factory       make_actor: from a spec (a mapping, a name, a function) to a live actor
"""

from metagym.actor.actor import Actor, RandomActor
from metagym.actor.chat import ChatActor
from metagym.actor.factory import ActorSpec, FunctionActor, ScriptedActorWarning, make_actor
from metagym.actor.reply_format import REPLY_FORMATS, read_reply
from metagym.actor.retrieval import MEMORY_HEADING, ReadPrompt, retrieve_items

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
    "make_actor",
    "read_reply",
    "retrieve_items",
]
