"""Episodes that are played on another machine: what goes there with them, and what they bring home.

The actor goes to where the inner environment lives, so that model calls leave from there. Home come the
steps, the failure if there was one, every attempt at a model call, and every exchange for the cassette: the
ledger and the cassette at home are the only ones that last. It knows nothing of Ray.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple

from metagym.actors import Actor
from metagym.budget import Attempt, Ledger, Purpose, current_purpose, open_ledger, spending_on
from metagym.errors import ConfigError
from metagym.extensions import extension_of
from metagym.models import Call, Cassette
from metagym.models.cassette import Mode, Rows, open_cassette
from metagym.seeding import step_seed
from metagym.types import Episode, Step, Trajectory
from metagym.workers import Seat, SeatWorkers, WorkerLostError, Workers

logger = logging.getLogger(__name__)

STOP_S = 5.0
"""How long a cancelled episode is waited for, so that it can say what it took."""

Play = Callable[..., Awaitable[Trajectory]]
"""(episode, *, env, steps) -> the trajectory; a `functools.partial` of `rollout.play_episode`."""


class Ticket(NamedTuple):
    """What goes with an episode: which calls are for what, and the replies that home has already."""

    episode: Episode
    purpose: Purpose
    mode: Mode | None
    """The mode of the open cassette; None where none is open."""
    replies: Rows


class Report(NamedTuple):
    """What an episode brings home, finished or not."""

    trajectory: Trajectory | None
    steps: tuple[Step, ...]
    failure: BaseException | None
    told: tuple[str, str]
    """Name and text of the failure, for one that cannot be pickled."""
    attempts: tuple[Attempt, ...]
    replies: Rows


class Traveller:
    """The end that goes there: plays an episode and reports. Picklable where the actor is."""

    def __init__(self, play: Play, actor: Actor) -> None:
        self._play, self._actor = play, actor

    async def __call__(self, item: Ticket, workers: Workers) -> Report:
        """Play the ticket's episode; whatever happens, report it."""
        account, steps = _Account(), list[Step]()
        trajectory, failure = None, None
        with account.open(), spending_on(item.purpose), _cassette(item) as cassette:
            try:
                async with workers.lease() as env:
                    trajectory = await self._play(item.episode, env=env, steps=steps)
            except (Exception, asyncio.CancelledError) as error:
                failure = error
            replies = cassette.rows() if cassette is not None else Rows()
        told = (type(failure).__name__, str(failure))
        # A trajectory holds its steps, and a failure may hold what cannot travel.
        left = () if trajectory is not None else tuple(steps)
        return Report(trajectory, left, _portable(failure), told, tuple(account.attempts), replies)

    async def aclose(self) -> None:
        """Close the actor's connections."""
        await extension_of(self._actor).aclose()


class Away:
    """The end that stays at home: sends episodes of one run of the engine, and books what they took.

    Raises:
        ConfigError: what is open here, a budget or a shared cassette, cannot be kept from elsewhere.
    """

    def __init__(self, play: Play, actor: Actor, workers: SeatWorkers, *, max_steps: int) -> None:
        self._traveller, self._workers = Traveller(play, actor), workers
        self._is_scripted, self._max_steps = extension_of(actor).scripted, max_steps
        ledger, cassette = open_ledger(), open_cassette()
        if ledger is not None and ledger.limits_calls:
            raise ConfigError(
                "workers='ray' cannot keep a budget: model calls leave from the nodes, and asking the driver before "
                f"each would hold them up. Got {ledger.budget!r}. Limit episodes instead, play with workers=N, or "
                "limit the spending at the model server."
            )
        if cassette is not None and cassette.share:
            raise ConfigError(
                "workers='ray' cannot use a cassette with share=True: nodes get an episode's own replies."
            )

    async def play(self, episode: Episode, steps: list[Step]) -> Trajectory:
        """Play an episode elsewhere; `steps` receives what was played, also where it failed.

        Raises:
            Exception: whatever the actor or the inner environment raised there.
            WorkerLostError: the machine was lost; the ledger then holds one attempt of unknown cost.
        """
        async with self._workers.seat() as seat:
            try:
                report = await self._answer(seat, episode)
            except WorkerLostError:
                self._book_loss(episode)
                raise
        self._book(report)
        if report.trajectory is not None:
            steps.extend(report.trajectory.steps)
            return report.trajectory
        steps.extend(report.steps)
        name, text = report.told
        raise report.failure or type(name, (Exception,), {})(text)

    async def _answer(self, seat: Seat, episode: Episode) -> Report:
        answer: asyncio.Future[Report] = asyncio.ensure_future(seat.play(self._traveller, self._ticket(episode)))
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            ending = asyncio.ensure_future(self._end(seat, answer))
            while not ending.done():
                with contextlib.suppress(asyncio.CancelledError):  # an engine cancels twice
                    await asyncio.shield(ending)
            raise

    async def _end(self, seat: Seat, answer: asyncio.Future[Report]) -> None:
        """End a cancelled episode, and book what it took."""
        try:
            async with asyncio.timeout(STOP_S):
                await seat.stop()
                self._book(await answer)
        except Exception as error:  # the machine may be gone, too
            logger.warning("A cancelled episode did not say what it took: %s: %s", type(error).__name__, error)
            answer.cancel()

    def _ticket(self, episode: Episode) -> Ticket:
        cassette = open_cassette()
        if cassette is None:
            return Ticket(episode, current_purpose(), None, Rows())
        calls = [
            Call("actor", episode.arm, episode.meta_step, step_seed(episode.seed, turn), episode.repetition)
            for turn in range(self._max_steps)
        ]
        return Ticket(episode, current_purpose(), cassette.mode, cassette.rows(calls))

    def _book(self, report: Report) -> None:
        if (ledger := open_ledger()) is not None:
            ledger.adopt(report.attempts)
        if (cassette := open_cassette()) is not None:
            cassette.adopt(report.replies)

    def _book_loss(self, episode: Episode) -> None:
        ledger = open_ledger()
        if ledger is None or self._is_scripted:
            return
        reason = f"the node that played {episode.task.id} was lost, and with it the count of the episode's calls"
        ledger.adopt(
            [
                Attempt(
                    number=-1,
                    role="actor",
                    purpose=current_purpose(),
                    meta_step=episode.meta_step,
                    arm=episode.arm,
                    outcome="unknown",
                    reason=reason,
                )
            ]
        )


class _Account(Ledger):
    """A ledger that keeps its attempts, to be booked at home."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts: list[Attempt] = []

    def _book(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)


@contextlib.contextmanager
def _cassette(ticket: Ticket) -> Iterator[Cassette | None]:
    """Open a cassette in memory that stands for the one at home."""
    if ticket.mode is None:
        yield None
        return
    cassette = Cassette(":memory:", mode="read-through")
    cassette.adopt(ticket.replies)
    cassette.mode = ticket.mode  # only now: a replay wants a cassette that is there
    with contextlib.closing(cassette), cassette.open():
        yield cassette


def _portable(error: BaseException | None) -> BaseException | None:
    """Return the error where it survives a journey, else None."""
    try:
        copy: Any = pickle.loads(pickle.dumps(error))
    except Exception:
        return None
    return error if type(copy) is type(error) and str(copy) == str(error) else None
