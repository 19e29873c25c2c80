"""Reflectors: what reads a history of meta-steps and writes the next prompt. One file a method."""

from metagym.reflectors.fixed import FixedReflector
from metagym.reflectors.ict import ChatReflector, read_reflection
from metagym.reflectors.protocol import FunctionReflector, Reflector, ReflectorSpec, as_reflector

__all__ = [
    "ChatReflector",
    "FixedReflector",
    "FunctionReflector",
    "Reflector",
    "ReflectorSpec",
    "as_reflector",
    "read_reflection",
]
