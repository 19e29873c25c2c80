"""Chat models: the protocol, and a client for every server that speaks the OpenAI protocol."""

from metagym.models.asking import ask, sample
from metagym.models.cassette import Cassette
from metagym.models.chat import Call, ChatModel
from metagym.models.config import ClientConfig
from metagym.models.environment import model_from_environment
from metagym.models.factory import MODEL_KEYS, make_model
from metagym.models.openai import OpenAIChatModel

__all__ = [
    "MODEL_KEYS",
    "Call",
    "Cassette",
    "ChatModel",
    "ClientConfig",
    "OpenAIChatModel",
    "ask",
    "make_model",
    "model_from_environment",
    "sample",
]
