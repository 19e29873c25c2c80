"""Whatever a disk, an editor or another program does to a file: it is read, or refused in words."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from metagym.budget import CallLog
from metagym.cli.options import read_json_file, read_text
from metagym.errors import MetaGymError
from metagym.evaluation.arena.standings import STANDINGS_FILE, Standings, read_standings
from metagym.evaluation.output.atif import write_atif
from metagym.evaluation.preset import load_preset
from metagym.models import Call, Cassette
from metagym.models.gguf import read_gguf
from metagym.reflectors import find_method
from metagym.report.run_reading import read_runs
from metagym.runs import MANIFEST, RunFolder, read_manifest
from metagym.runs.folder import CALLS, LOG, REPLIES, REPORT
from metagym.runs.repair import repair_run
from metagym.runs.running import run_experiment
from metagym.runs.watching import Watcher
from metagym.testing import FakeChatModel
from metagym.training.experience import Experience, read_experience, read_lines
from metagym.types import Completion, Message
from tests.conftest import make_meta_step, make_step, make_trajectory
from tests.fuzzing.inputs import damaged, odd_texts
from tests.runs.conftest import manifest

SAMPLES = 25
MESSAGES: list[Message] = [{"role": "user", "content": "Hi."}]
CALL = Call("actor", seed=7)


class Reader(NamedTuple):
    """A file that is damaged, and what reads it."""

    file: str
    read: Callable[[Path], Any]


def open_run(folder: Path) -> None:
    with RunFolder.open(folder) as run:
        run.history  # noqa: B018
        shutil.rmtree(folder / "atif", ignore_errors=True)
        write_atif(run, folder / "atif")


def recall(folder: Path) -> None:
    with contextlib.closing(Cassette(folder / REPLIES)) as cassette:
        cassette.recall(FakeChatModel([]), MESSAGES, CALL)
        cassette.rows()
        cassette.damaged()


READERS = {
    "run folder": Reader(LOG, open_run),
    "run folder, repaired": Reader(LOG, repair_run),
    "run folder, watched": Reader(LOG, lambda folder: Watcher(folder).look(now=1.0)),
    "run folder, in a report": Reader(LOG, lambda folder: read_runs([folder], max_episodes=5)),
    "manifest": Reader(MANIFEST, read_manifest),
    "manifest, in a report": Reader(MANIFEST, lambda folder: read_runs([folder], max_episodes=5)),
    "calls": Reader(CALLS, lambda folder: [*CallLog(folder / CALLS).read()]),
    "calls, repaired": Reader(CALLS, repair_run),
    "cassette": Reader(REPLIES, recall),
    "cassette, repaired": Reader(REPLIES, repair_run),
    "standings": Reader(STANDINGS_FILE, read_standings),
    "stream's report": Reader(REPORT, lambda folder: read_runs([folder], max_episodes=5)),
    "preset": Reader("mine.toml", lambda folder: load_preset(str(folder / "mine.toml"))),
    "file of options": Reader("actor.json", lambda folder: read_json_file("--actor", folder / "actor.json")),
    "prompt file": Reader("prompt.md", lambda folder: read_text("--option first_prompt", folder / "prompt.md")),
    "experience": Reader("experience.jsonl", lambda folder: read_experience(folder / "experience.jsonl")),
    "lines of a training run": Reader("experience.jsonl", lambda folder: read_lines(folder / "experience.jsonl")),
    "head of a model file": Reader("model.gguf", lambda folder: read_gguf(folder / "model.gguf")),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a whole file of each kind."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    run_experiment(manifest(num_steps=1, env_options={"actor": "demo", "episodes_per_step": 1}), folder)
    attempt = (
        b'{"number":0,"role":"actor","purpose":"learning","meta_step":0,"outcome":"whole","usage":{"num_calls":1}}\n'
    )
    (folder / CALLS).write_bytes(attempt * 3)
    with contextlib.closing(Cassette(folder / REPLIES)) as cassette:
        for seed in (7, 8):
            cassette.keep(FakeChatModel([]), MESSAGES, CALL._replace(seed=seed), Completion(text="Hello."))
    standings = Standings(
        place="here", budget={}, num_seeds=1, families=("a",), baseline="b", scripted=False, rows=(), curves=()
    )
    (folder / STANDINGS_FILE).write_text(standings.model_dump_json())
    preset = 'about = "x"\nnum_seeds = 2\n[[environments]]\nid = "MetaGym/Gates-v0"\nfamilies = ["law-0001"]\n'
    (folder / "mine.toml").write_text(preset)
    (folder / "actor.json").write_text('{"model": "m", "base_url": "http://localhost:1/v1", "client": {}}')
    (folder / "prompt.md").write_text("# Be brave.\n- Knock é.\n", encoding="utf-8")
    experience = Experience(id="0/0", meta_step=make_meta_step([make_trajectory([make_step()])]), fingerprint="f")
    (folder / "experience.jsonl").write_text((experience.model_dump_json() + "\n") * 2)
    (folder / "model.gguf").write_bytes(b"GGUF" + (3).to_bytes(4, "little") + (0).to_bytes(8, "little") * 2)
    (folder / REPORT).write_text("{}")
    return folder


def try_reading(reader: Reader, folder: Path, content: bytes) -> None:
    (folder / reader.file).write_bytes(content)
    try:
        reader.read(folder)
    except MetaGymError:
        pass
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error!s:.300} for {content[:300]!r}") from error


def check(name: str, whole: Path, place: Path, count: int) -> None:
    reader = READERS[name]
    content = (whole / reader.file).read_bytes()
    odd = (text.encode("utf-8", "surrogatepass") for text in odd_texts(3, max(1, count // 10)))
    for number, changed in enumerate(itertools.chain(damaged(content, seed=1, count=count), odd)):
        if number % 200 == 0:  # a repair leaves files, and removes some
            folder = place / f"run-{number}"
            copy_files(whole, folder)
        try_reading(reader, folder, changed)


def copy_files(source: Path, folder: Path) -> None:
    folder.mkdir()
    for file in source.iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())


@pytest.mark.parametrize("name", READERS)
def test_no_reader_raises_a_raw_exception(name: str, whole: Path, tmp_path: Path) -> None:
    check(name, whole, tmp_path, SAMPLES)


@pytest.fixture
def memory_path(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, if the machine has one: a repair waits for the disk several times."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("name", READERS)
def test_no_reader_raises_a_raw_exception_on_20_000_files(name: str, whole: Path, memory_path: Path) -> None:
    check(name, whole, memory_path, 20_000)


@pytest.mark.parametrize("name", READERS)
def test_a_whole_file_is_read(name: str, whole: Path, tmp_path: Path) -> None:
    """So that the files above are damaged ones of the right kind."""
    folder = tmp_path / "run"
    copy_files(whole, folder)
    READERS[name].read(folder)


def test_a_folder_in_place_of_a_file_is_refused_in_words(whole: Path, tmp_path: Path) -> None:
    for number, reader in enumerate(READERS.values()):
        folder = tmp_path / str(number)
        copy_files(whole, folder)
        (folder / reader.file).unlink()
        (folder / reader.file).mkdir()
        with contextlib.suppress(MetaGymError):
            reader.read(folder)


def test_the_methods_keep_the_prompt_whatever_their_model_replies() -> None:
    """A reply of any kind leads to a reflection that can be written and read."""
    import asyncio

    from metagym.reflectors.registry import METHODS, takes_model

    needs_rollouts = "training_free_grpo_style"
    for name in {*filter(takes_model, METHODS)} - {needs_rollouts}:
        for text in odd_texts(seed=5, count=SAMPLES):
            reflector: Any = find_method(name)(model=FakeChatModel([text] * 50))
            history = [make_meta_step([make_trajectory([make_step()]), make_trajectory([make_step()], score=0.0)])]
            for index in range(2):
                reflection = asyncio.run(reflector.reflect(history))
                assert type(reflection).model_validate_json(reflection.model_dump_json()) == reflection
                history.append(make_meta_step(history[0].trajectories, index=index + 1, reflection=reflection))
