"""Stand-ins and contract checks for your own tests: no key, no network, no luck.

ScriptedActor     plays given actions              FakeOpenAIServer  a real HTTP server, as bad as you ask
FakeChatModel     gives given replies              misbehave         makes a server's answers fail, deterministically
ScriptedReflectorModel   answers reflectors        check_text_env    checks an inner environment
                                                   check_meta_env    checks a meta-environment
                                                   check_reflector   checks a reflector
"""

from metagym.testing.checks import UNKNOWN_COMMAND, check_text_env
from metagym.testing.faults import FAULTS, Misbehaviour, misbehave
from metagym.testing.meta_checks import check_meta_env
from metagym.testing.reflector_checks import check_reflector
from metagym.testing.server import Delivery, FakeOpenAIServer, ServerReply, ServerRequest
from metagym.testing.standins import FakeChatModel, Respond, ScriptedActor

__all__ = [
    "FAULTS",
    "UNKNOWN_COMMAND",
    "Delivery",
    "FakeChatModel",
    "FakeOpenAIServer",
    "Misbehaviour",
    "Respond",
    "ScriptedActor",
    "ServerReply",
    "ServerRequest",
    "check_meta_env",
    "check_reflector",
    "check_text_env",
    "misbehave",
]
