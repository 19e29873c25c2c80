"""ALFWorld's meta-environment: write the prompt under which an actor does household tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from metagym.actor import ActorSpec
from metagym.env import MetaEnv
from metagym.envs.alfworld import textworld_engine as textworld
from metagym.envs.alfworld.catalogue import DataName, GameCatalogue
from metagym.envs.alfworld.demo import ALFWorldDemoActor, ALFWorldDemoReflector
from metagym.envs.alfworld.env import ALFWorldTextEnv, EngineName, check_engine
from metagym.envs.alfworld.game import Engine, NativeEngine
from metagym.envs.alfworld.generated.games import TRIAL_PREFIX
from metagym.envs.alfworld.tasks import RolesBy, data_digest, make_task_set
from metagym.imports import package_versions
from metagym.tasks import TaskSet


class ALFWorldMetaEnv(MetaEnv):
    """The meta-environment over ALFWorld: `gym.make("MetaGym/ALFWorld-v0")`.

    `data`, `data_dir`, `engine` and `accept_both_spellings` are the options of `ALFWorldTextEnv`. `source` is the
    official folder whose tasks are divided into `train`, `validation` and `test`: by the task's folder, or with
    `roles_by="room"` or `"object"` so that no room, or no object of a task, is in two roles. By default a
    command that is not admissible never reaches the game, so `accept_both_spellings` needs `invalid="execute"`.

    The families are ALFWorld's six task types. `families=["paper-train"]` and `["paper-test"]` are the split of
    arXiv 2605.20477, which holds out cool-and-place and pick-two.
    """

    default_prompt = (
        "You are in a house and have a task to do. Walk to the furniture, look for what the task needs, take it, "
        "and put it where the task wants it."
    )
    default_options: ClassVar[Mapping[str, Any]] = {"max_steps": 50}
    names_kinds = True
    make_demo_actor = staticmethod(ALFWorldDemoActor)
    make_demo_reflector = staticmethod(ALFWorldDemoReflector)

    def __init__(
        self,
        actor: ActorSpec = None,
        *,
        data: DataName | None = None,
        data_dir: str | None = None,
        source: str = "train",
        roles_by: RolesBy = "task",
        engine: EngineName = "native",
        accept_both_spellings: bool = False,
        **options: Any,
    ) -> None:
        check_engine(engine)
        self._process: textworld.EnvironmentProcess | None = None
        self._engine: Callable[[], Engine] = NativeEngine
        if engine == "textworld":
            textworld.require_textworld()
            # TextWorld blocks, so by default it runs in a worker process and not on the event loop.
            options.setdefault("workers", 1)
            # With workers="local" one process plays all games in TextWorld. It starts with the first game.
            self._process = textworld.EnvironmentProcess(textworld.TEXTWORLD)
            self._engine = partial(textworld.SpawnedTextWorldEngine, self._process)
        self._games: dict[str, Any] = {"data": data, "data_dir": data_dir}
        self.catalogue = GameCatalogue(**self._games)
        self._source, self._engine_name, self._accept_both = source, engine, accept_both_spellings
        self._roles_by: RolesBy = roles_by
        super().__init__(actor, **options)

    def make_inner_env(self) -> ALFWorldTextEnv:
        """Make an inner environment. All of them share one catalogue."""
        return ALFWorldTextEnv(catalogue=self.catalogue, engine=self._engine, accept_both_spellings=self._accept_both)

    def inner_env_factory(self) -> Callable[[], ALFWorldTextEnv]:
        """Return a function that makes an inner environment in a worker process, with its own catalogue."""
        engine: Callable[[], Engine] = NativeEngine if self._process is None else textworld.TextWorldEngine
        return partial(ALFWorldTextEnv, **self._games, engine=engine, accept_both_spellings=self._accept_both)

    def make_task_set(self) -> TaskSet:
        """Make the task set of the official or generated games."""
        return make_task_set(self.catalogue, source=self._source, roles_by=self._roles_by)

    def inner_fingerprint(self) -> dict[str, Any]:
        """Return the settings of the play: the games, the engine and the spelling."""
        names = self.catalogue.listing().playable if self.catalogue.folder is not None else ()
        return {
            "data": self.catalogue.data_name,
            "data_digest": data_digest(self.catalogue),
            "num_generated_among_official": sum(f"/{TRIAL_PREFIX}" in name for name in names),
            "source": self._source if names else "generated",
            **({} if self._roles_by == "task" else {"roles_by": self._roles_by}),
            "spelling": self.catalogue.game(self.catalogue.sample_ids(per_family=1)[0]).wording.spelling,
            "accept_both_spellings": self._accept_both,
            "engine": self._engine_name,
            "packages": package_versions("alfworld", "textworld") if self._process is not None else {},
        }

    def close(self) -> None:
        """Close the meta-environment and end TextWorld's process."""
        super().close()
        if self._process is not None:
            self._process.close()
