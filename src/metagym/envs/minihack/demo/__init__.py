"""MiniHack's demo: a scripted actor that obeys its prompt, and a scripted reflector that learns by rules.

    actor.py        the actor
    reflector.py    the reflector, and the rules by which it learns
    vocabulary.py   the conditions and skills that an instruction may name
    scene.py        reads an observation's text back into squares

Neither is a language model: their scores test metagym and say nothing about models. They read only what every actor
and reflector reads.
"""

from metagym.envs.minihack.demo.actor import DEFAULT_PROMPT, MiniHackDemoActor
from metagym.envs.minihack.demo.reflector import MiniHackDemoReflector

__all__ = ["DEFAULT_PROMPT", "MiniHackDemoActor", "MiniHackDemoReflector"]
