"""Reflectors: what reads a history of meta-steps and writes the next prompt. One file a method."""

from metagym.reflectors.factory import make_reflector
from metagym.reflectors.fixed import FixedReflector
from metagym.reflectors.ict import ChatReflector, read_reflection
from metagym.reflectors.protocol import (
    FunctionReflector,
    Reflector,
    ReflectorSpec,
    Replay,
    RolloutReflector,
    as_reflector,
    bind,
)
from metagym.reflectors.registry import find_method, method_names, takes_model

__all__ = [
    "ChatReflector",
    "FixedReflector",
    "FunctionReflector",
    "Reflector",
    "ReflectorSpec",
    "Replay",
    "RolloutReflector",
    "as_reflector",
    "bind",
    "find_method",
    "make_reflector",
    "method_names",
    "read_reflection",
    "takes_model",
]
