"""Reflectors read a history of meta-steps and write the next prompt. One file per method.

What the methods share: `protocol` (any reflector), `registry` (names), `method` (the base class), `prompt_document`
(prompt, request and reply). `scripted_model` is the script in place of a model on Gates: `"model": "demo"`.
"""

from metagym.reflectors.ict import ChatReflector, read_reflection
from metagym.reflectors.method import FixedReflector
from metagym.reflectors.protocol import Reflector, ReflectorSpec, Replay, as_reflector, bind, reflect, reflect_samples
from metagym.reflectors.registry import find_method, make_reflector, method_names, takes_model

__all__ = [
    "ChatReflector",
    "FixedReflector",
    "Reflector",
    "ReflectorSpec",
    "Replay",
    "as_reflector",
    "bind",
    "find_method",
    "make_reflector",
    "method_names",
    "read_reflection",
    "reflect",
    "reflect_samples",
    "takes_model",
]
