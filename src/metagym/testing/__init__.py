"""Fake models and contract checks for your own tests: no key, no network, no chance.

ScriptedActor     plays given actions               check_text_env    checks an inner environment
FakeChatModel     gives given replies               check_meta_env    checks a meta-environment
FakeOpenAIServer  a real HTTP server                check_reflector   checks a reflector
misbehave         adds faults to its replies

The script in place of a reflector's model on Gates is `metagym.reflectors.scripted_model.ScriptedReflectorModel`.
"""

from metagym.testing.fake_server import FakeOpenAIServer, ServerReply, ServerRequest
from metagym.testing.fakes import FakeChatModel, ScriptedActor
from metagym.testing.faults import FAULTS, FINAL_FAULTS, misbehave
from metagym.testing.meta_env_checks import check_meta_env
from metagym.testing.reflector_checks import check_reflector
from metagym.testing.text_env_checks import check_text_env

__all__ = [
    "FAULTS",
    "FINAL_FAULTS",
    "FakeChatModel",
    "FakeOpenAIServer",
    "ScriptedActor",
    "ServerReply",
    "ServerRequest",
    "check_meta_env",
    "check_reflector",
    "check_text_env",
    "misbehave",
]
