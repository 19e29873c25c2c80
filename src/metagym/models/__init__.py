"""Chat models: the protocol, and a client for every server that speaks the OpenAI protocol."""

from metagym.models.chat import Call, ChatModel
from metagym.models.openai import OpenAIChatModel, model_from_environment

__all__ = ["Call", "ChatModel", "OpenAIChatModel", "model_from_environment"]
