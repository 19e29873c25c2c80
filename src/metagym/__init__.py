"""metagym: Gymnasium environments whose action is a system prompt.

Importing it registers the ids `MetaGym/...`. Everything else is imported when it is first used.
"""

import sys
from typing import TYPE_CHECKING, Any

if sys.version_info < (3, 11):  # noqa: UP036 - a checkout on the path is not held back by its metadata
    raise ImportError(
        f"metagym needs Python 3.11 or later, got {sys.version.split()[0]}. Make an environment with a newer one: "
        "python3.11 -m venv .venv"
    )

from metagym._version import __version__
from metagym.errors import MetaGymError
from metagym.registration import make
from metagym.types import Record

if TYPE_CHECKING:
    from metagym.actor import Actor, ChatActor, ToolActor
    from metagym.adapter import TextAdapter, ToolEnv, tool
    from metagym.budget import Budget
    from metagym.env import MetaEnv
    from metagym.evaluation import compare, evaluate
    from metagym.models import ChatModel, OpenAIChatModel
    from metagym.optimizers import optimize
    from metagym.reflectors import ChatReflector, Reflector, make_reflector
    from metagym.runs import RunFolder
    from metagym.spaces import TextSpace
    from metagym.tasks import ListedTaskSet, TaskSet
    from metagym.types import Completion, MetaStep, Reflection, Task, Trajectory

_EXPORTS = {
    "metagym.actor": ("Actor", "ChatActor", "ToolActor"),
    "metagym.adapter": ("TextAdapter", "ToolEnv", "tool"),
    "metagym.budget": ("Budget",),
    "metagym.env": ("MetaEnv",),
    "metagym.evaluation": ("compare", "evaluate"),
    "metagym.models": ("ChatModel", "OpenAIChatModel"),
    "metagym.optimizers": ("optimize",),
    "metagym.reflectors": ("ChatReflector", "Reflector", "make_reflector"),
    "metagym.runs": ("RunFolder",),
    "metagym.spaces": ("TextSpace",),
    "metagym.tasks": ("ListedTaskSet", "TaskSet"),
    "metagym.types": ("Completion", "MetaStep", "Reflection", "Task", "Trajectory"),
}
_MODULE_OF = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = [
    "Actor",
    "Budget",
    "ChatActor",
    "ChatModel",
    "ChatReflector",
    "Completion",
    "ListedTaskSet",
    "MetaEnv",
    "MetaGymError",
    "MetaStep",
    "OpenAIChatModel",
    "Reflection",
    "Reflector",
    "RunFolder",
    "Task",
    "TaskSet",
    "TextAdapter",
    "TextSpace",
    "ToolActor",
    "ToolEnv",
    "Trajectory",
    "__version__",
    "compare",
    "evaluate",
    "make",
    "make_reflector",
    "optimize",
    "tool",
]


def _html_of(record: Record) -> str | None:
    from metagym.report.notebook_html import html_of

    return html_of(record)


Record.draw_html = staticmethod(_html_of)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'metagym' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
