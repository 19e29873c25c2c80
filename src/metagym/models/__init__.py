"""Chat models: the protocol, and a client for every server that speaks the OpenAI protocol.

chat             ChatModel: one method; Call: who asks, with which seed
asking           ask: through the open cassette, booked on the open ledger, with retries
openai           OpenAIChatModel: the client; one request and its answer, within a limit of silence
probing          AskedOnce: a fact about a server, found by asking it once
constraint       ReplyForm: a reply is held to its form by the server's own means
client_config    ClientConfig: time limits, retries, rate limits, prices; the key
server_profile   facts about a server, found by asking once; the limiter of the calls in flight
server_replies   from a server's JSON to a Completion; server_streams: from a stream to that JSON
server_failures  from an exception to a Failure with its remedy; the breaker
server_words     the words of servers, as data
cassette         Cassette: every exchange in one file, to be replayed
recorded_model   RecordedModel: a model of which only a cassette's replies are at hand
factory          make_model: from a mapping or an environment variable to a model
litellm_model    LiteLLMChatModel: `litellm:NAME`, a model that the SDK of LiteLLM asks
local_model      GGUFChatModel: `local`, a model on this machine behind a server that the process shares
local_server     ModelServer: llama.cpp, vLLM or `transformers serve`, under local_server_supervisor
llama_cpp_engine the script that serves a GGUF file with llama.cpp, in its own process
model_files      GGUF files on this machine, and which one `local` means; gguf reads their heads
model_download   get_model: out of a package of the index, by URL, or from a hub
"""

from metagym.models.asking import ask, estimate_tokens, sample
from metagym.models.cassette import Cassette
from metagym.models.chat import Call, ChatModel
from metagym.models.client_config import ClientConfig
from metagym.models.factory import MODEL_KEYS, is_model_name, make_model, model_from_environment
from metagym.models.local_model import GGUFChatModel, is_local
from metagym.models.local_server import LlamaCppConfig, ModelServer
from metagym.models.openai import OpenAIChatModel

__all__ = [
    "MODEL_KEYS",
    "Call",
    "Cassette",
    "ChatModel",
    "ClientConfig",
    "GGUFChatModel",
    "LlamaCppConfig",
    "ModelServer",
    "OpenAIChatModel",
    "ask",
    "estimate_tokens",
    "is_local",
    "is_model_name",
    "make_model",
    "model_from_environment",
    "sample",
]
