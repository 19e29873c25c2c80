"""The exceptions. Each message names the expected value, the given one, and the remedy.

MetaGymError
├── ConfigError (ValueError)             an argument is wrong
│   ├── UnknownNameError                 no such id, family, split, task, preset
│   └── InvalidPromptError               the action is not a legal prompt
├── MissingExtraError (ImportError)      an optional package is not installed
├── TasksExhaustedError (RuntimeError)   too few tasks are left for a meta-step
├── LeakError (RuntimeError)             a task for measuring was used for learning or choosing
├── ContractError (AssertionError)       an environment breaks its contract
├── RunFolderError (RuntimeError)        the run folder cannot be used as asked
├── ToolError (RuntimeError)             a tool's call cannot work; the agent reads the message
└── InfrastructureError (RuntimeError)   a server, an environment or a budget failed, not the agent
    ├── EpisodesFailedError              too many episodes of a meta-step failed; holds the meta-step
    │   └── BadBatchError                all replies of a batch were cut off, empty, invalid or refused
    ├── BudgetExceededError              the budget is spent; holds the episodes played so far
    ├── InnerEnvError                    the inner environment broke its contract
    └── ModelError                       the model server failed or refused
        ├── ConversationError            this conversation cannot continue; in an episode this is data
        │   ├── ContextOverflowError     it is too long for the model
        │   └── ContentFilterError       the server's content filter refused it
        └── ModelUnavailableError        no call can succeed: server down, wrong key, no such model
            └── CassetteMissError        a replay needs a reply that was never recorded
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, NamedTuple

if TYPE_CHECKING:
    from pydantic import ValidationError

    from metagym.types import MetaStep, Trajectory


_OURS = str(Path(__file__).parent) + os.sep
_LIBRARIES = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_MAX_WORDS, _MAX_TRACE = 4_000, 12_000
_KEPT = "_user_trace"
# A URL, a host as aiohttp names it, a socket's address as the system names it.
_ADDRESS = re.compile(r"\b(https?://)[^\s'\"<>()]+|\b(host )[\w.\-\[\]:]+:\d+|(\()'[\w.:%-]*', \d+[\d, ]*(?=\))")


def in_words(error: BaseException) -> str:
    """Return the name and the message of any exception, even of one whose message cannot be made.

    The first member of a group is named too: the group's own message does not name the error.
    """
    error = _raised(error)
    try:
        text = f"{type(error).__name__}: {str(error)[:_MAX_WORDS]}"
    except KeyboardInterrupt:
        raise
    except BaseException:
        text = f"{type(error).__name__}: its message cannot be shown"
    if isinstance(error, BaseExceptionGroup):
        return f"{text}: {in_words(error.exceptions[0])}"[: 2 * _MAX_WORDS]
    return text


class UserTrace(NamedTuple):
    """The part of an error's traceback that is the user's own code; empty texts without such a part."""

    place: str = ""
    """The last line of the user's own code: `games.py:12`."""
    text: str = ""
    """The traceback from the first such line on, with its causes."""


def check_started(env: object, attribute: str) -> None:
    """Raise gymnasium's ResetNeeded if `reset`, which sets the attribute, was not called yet."""
    if getattr(env, attribute, None) is None:
        from gymnasium.error import ResetNeeded  # so that this module needs no other package

        raise ResetNeeded("Expected reset() before step(), got no reset. Call env.reset() first.")


def user_trace(error: BaseException) -> UserTrace:
    """Return the user's part of the traceback of `error`: from the first line that is no package's.

    An error that comes from another process brings it along (`keep_trace`), so that it is the same in every process.
    """
    kept = vars(error).get(_KEPT)  # no attribute: an exception may look up unknown ones in its own way
    if isinstance(kept, UserTrace):
        return kept
    for link in _chain(_raised(error)):
        own = [part for part in _parts(link.__traceback__) if _is_users(part.tb_frame.f_code.co_filename)]
        if own:
            written = [part for part in own if not part.tb_frame.f_code.co_filename.startswith("<")]
            return UserTrace(_place((written or own)[-1]), _shortened(_formatted(link, own[0])))
    return UserTrace()


def keep_trace(error: BaseException, trace: UserTrace) -> None:
    """Give an error the trace that it had in another process."""
    vars(error)[_KEPT] = trace


def mask_addresses(text: str) -> str:
    """Return the text without the addresses of servers: records are passed on, and addresses are not meant for others.

    >>> mask_addresses("http://10.1.2.3:8000/v1 does not answer: Connect call failed ('10.1.2.3', 8000)")
    'http://... does not answer: Connect call failed (...)'
    """
    return _ADDRESS.sub(r"\1\2\3...", text)


def with_place(error: BaseException) -> str:
    """Return the error in words, and after it the line of the user's own code that it came from."""
    place = user_trace(error).place
    return in_words(error) + (f" ({place})" if place else "")


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _raised(error: BaseException) -> BaseException:
    """Return the error itself. `contextlib` raises another one in place of a frozen dataclass."""
    is_replaced = type(error).__name__ == "FrozenInstanceError" and "'__traceback__'" in str(error)
    return error.__context__ or error if is_replaced else error


def _formatted(error: BaseException, part: TracebackType) -> str:
    try:
        return "".join(traceback.format_exception(type(error), error, part))
    except Exception:  # it is the error's own code that fails
        return "".join([*traceback.format_tb(part), in_words(error)])


def _parts(part: TracebackType | None) -> Iterator[TracebackType]:
    while part is not None:
        yield part
        part = part.tb_next


def _is_users(file: str) -> bool:
    if file.startswith((_OURS, *_LIBRARIES, "<frozen")):
        return False
    return not {"site-packages", "dist-packages"} & set(Path(file).parts)


def _place(part: TracebackType) -> str:
    file = part.tb_frame.f_code.co_filename
    with contextlib.suppress(ValueError, OSError):
        file = str(Path(file).relative_to(Path.cwd()))
    return f"{file}:{part.tb_lineno}"


def _shortened(text: str) -> str:
    if len(text) <= _MAX_TRACE:
        return text
    half = _MAX_TRACE // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"


class MetaGymError(Exception):
    """Base of every exception that metagym raises on purpose."""


class ConfigError(MetaGymError, ValueError):
    """An argument is wrong."""


class UnknownNameError(ConfigError):
    """A name does not exist."""

    @classmethod
    def of(cls, kind: str, got: object, known: Iterable[str], *, remedy: str = "") -> UnknownNameError:
        """Return the error with a message of the unknown name, the known names and the nearest ones."""
        names = tuple(known)
        near = difflib.get_close_matches(str(got), names, n=3, cutoff=0.5)
        listed = ", ".join(map(repr, names[:16])) + (f", ... ({len(names)} in all)" if len(names) > 16 else "")
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        return cls(f"Unknown {kind} {got!r}: expected one of {listed}.{hint}{' ' + remedy if remedy else ''}")


def config_error(error: ValidationError, what: str, known: Iterable[str]) -> ConfigError:
    """Return pydantic's first complaint as a ConfigError; `what` is the kind of the fields, `known` are their names."""
    first = error.errors()[0]
    if isinstance(cause := first.get("ctx", {}).get("error"), ConfigError):
        return cause
    parts = map(str, first["loc"])
    name = ".".join(part for part in parts if part.isalnum() or part.isidentifier())  # no "constrained-int" of a union
    if first["type"] == "extra_forbidden":
        return UnknownNameError.of(what, name, known)
    return ConfigError(f"{what[:1].upper()}{what[1:]} {name!r} got {first['input']!r:.80}: {first['msg']}.")


class InvalidPromptError(ConfigError):
    """The action of a meta-environment is not a legal prompt."""


class MissingExtraError(MetaGymError, ImportError):
    """An optional package is not installed."""


class TasksExhaustedError(MetaGymError, RuntimeError):
    """Too few tasks are left for another meta-step."""

    num_left: int | None = None
    """How many are left, if that is known."""


class LeakError(MetaGymError, RuntimeError):
    """A task for measuring was used for learning or choosing, so that the measurement would mean nothing."""


class ContractError(MetaGymError, AssertionError):
    """An environment breaks its contract."""


class RunFolderError(MetaGymError, RuntimeError):
    """The run folder cannot be used as asked."""


class ToolError(MetaGymError, RuntimeError):
    """A call of a tool cannot work. A tool of a `ToolEnv` raises it, and its message is the call's result."""


class InfrastructureError(MetaGymError, RuntimeError):
    """A server, an environment or a budget failed, not the agent: such an episode never counts in a mean."""

    history: tuple[MetaStep, ...] = ()
    """The meta-steps that a loop finished before the error."""
    stops_run: ClassVar[bool] = False
    """Whether later episodes would fail for the same reason, so that no further episode is started."""
    trajectories: tuple[Trajectory, ...] = ()
    """The batch that the error ended; an episode that was not finished has no score."""


class EpisodesFailedError(InfrastructureError):
    """More episodes of a meta-step failed than `max_failure_rate` allows."""

    meta_step: MetaStep | None
    """The partial meta-step: all episodes that were played."""
    meta_steps: tuple[MetaStep, ...] = ()
    """The meta-steps of all prompts, from a vector environment."""

    def __init__(self, message: str, meta_step: MetaStep | None = None) -> None:
        super().__init__(message)
        self.meta_step = meta_step


class BudgetExceededError(InfrastructureError):
    """The budget leaves no room for the next call. Finished episodes are kept; with a larger budget the run resumes."""

    stops_run = True
    meta_step: MetaStep | None = None
    """The partial meta-step, if a meta-environment was playing one."""
    meta_steps: tuple[MetaStep, ...] = ()
    """The partial meta-steps of all prompts, from a vector environment."""
    ledger: object = None
    """The ledger of that budget: a method's own, or the run's."""


class BadBatchError(EpisodesFailedError):
    """All episodes of a batch went wrong in the same way, so that the scores say nothing about the prompt."""


class InnerEnvError(InfrastructureError):
    """The inner environment broke its contract."""


class ModelError(InfrastructureError):
    """The model server failed or refused, or returned no usable reply."""


class ConversationError(ModelError):
    """This conversation cannot continue. In an episode this is data, not a failure."""

    stop_reason: ClassVar[str]
    """The value of the `StopReason` of an episode that ends so."""


class ContextOverflowError(ConversationError):
    """The conversation is too long for the model's context."""

    stop_reason = "context overflow"


class ContentFilterError(ConversationError):
    """The server's content filter refused the conversation."""

    stop_reason = "content filter"


class ModelUnavailableError(ModelError):
    """No call can succeed: the server is down, or refuses the key or the model. It stops the run."""

    stops_run = True


class CassetteMissError(ModelUnavailableError):
    """A replay needs an exchange that the cassette does not hold."""
