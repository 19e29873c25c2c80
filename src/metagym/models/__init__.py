"""Chat models: the protocol, and a client for every server that speaks the OpenAI protocol."""

from metagym.models.chat import Call, ChatModel, ask
from metagym.models.config import ClientConfig
from metagym.models.environment import model_from_environment
from metagym.models.openai import OpenAIChatModel

__all__ = ["Call", "ChatModel", "ClientConfig", "OpenAIChatModel", "ask", "model_from_environment"]
