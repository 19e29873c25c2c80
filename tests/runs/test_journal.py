"""The append-only file: whole lines or none, one writer, and nothing lost when a write fails."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metagym.errors import RunFolderError
from metagym.runs import journal as journal_module
from metagym.runs.journal import Journal, has_writer, living_writer
from tests.conftest import SRC, run_python


def read(path: Path) -> list[bytes]:
    return [line for _, line in Journal(path).lines()]


@given(
    st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"") + b"\n"), max_size=8), st.integers(0, 300)
)
@settings(max_examples=60)
def test_a_file_cut_anywhere_goes_on_after_its_last_whole_line(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], cut: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "log"
    path.write_bytes(b"".join(lines)[:cut])
    again = Journal(path)
    whole = [line for _, line in again.lines()]
    assert whole == lines[: len(whole)]
    place = again.append(b"next\n")
    assert again.read(place) == b"next\n"
    again.close()
    assert read(path) == [*whole, b"next\n"]


def test_a_second_process_is_refused_with_the_id_of_the_writer(tmp_path: Path) -> None:
    holder = Journal(tmp_path / "log")
    holder.append(b"a\n")
    code = "import sys, pathlib; from metagym.runs.journal import Journal; Journal(pathlib.Path(sys.argv[1])).lock()"
    done = run_python(code, str(tmp_path / "log"))
    assert f"Another process (id {os.getpid()}) is writing to" in done.stderr
    holder.close()
    assert run_python(code, str(tmp_path / "log")).returncode == 0


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    code = (
        "import sys, os, pathlib, signal; from metagym.runs.journal import Journal;"
        "Journal(pathlib.Path(sys.argv[1])).append(b'a\\n'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert run_python(code, str(tmp_path / "log")).returncode == -signal.SIGKILL
    again = Journal(tmp_path / "log")
    assert [line for _, line in again.lines()] == [b"a\n"]
    again.append(b"b\n")
    again.close()


def test_a_full_disk_loses_nothing_and_leaves_no_torn_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Journal(tmp_path / "log")
    own.append(b"first\n")

    def full(handle: int, data: bytes) -> None:
        os.write(handle, data[:3])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal_module, "_write_all", full)
        with pytest.raises(RunFolderError, match=r"Expected space .*No space left on device.* Make space"):
            own.append(b"second\n")
    assert read(tmp_path / "log") == [b"first\n"]
    own.append(b"third\n")
    own.close()
    assert read(tmp_path / "log") == [b"first\n", b"third\n"]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"Expected a run folder that can be written to at"):
        Journal(tmp_path / "missing" / "log").lock()


def test_lines_of_another_process_are_not_removed(tmp_path: Path) -> None:
    late = Journal(tmp_path / "log")
    list(late.lines())
    early = Journal(tmp_path / "log")
    early.append(b"early\n")
    early.close()
    with pytest.raises(RunFolderError, match=r"Another process has written to .* since it was read. Open it again"):
        late.append(b"late\n")
    late.close()
    assert read(tmp_path / "log") == [b"early\n"]


EVALUATE = """if True:
    import os, signal, sys
    from metagym.runs import journal
    from metagym.envs.gates.meta import GatesMetaEnv
    from metagym.evaluation import EvaluationConfig, evaluate

    left = int(sys.argv[2])

    def mortal(handle, content):
        global left
        os.write(handle, content[:left])
        left -= len(content)
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    journal._write_all = mortal
    config = EvaluationConfig(families=("law-0007",), num_steps=2, num_seeds=2, num_validation=4, num_test=6)
    with GatesMetaEnv("demo") as env:
        evaluate(env, "demo", config=config, path=sys.argv[1])
    """


def evaluate_until(path: Path, num_bytes: int) -> int:
    return run_python(EVALUATE, str(path), str(num_bytes)).returncode


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole")
    assert evaluate_until(path, 10**9) == 0
    return (path / "log.jsonl").read_bytes()


def kill_and_resume(path: Path, whole: bytes, moments: list[int]) -> None:
    """Kill an evaluation each time after so many more bytes, then let it finish: the log must be the whole one."""
    for moment in moments:
        assert evaluate_until(path, moment) in (-signal.SIGKILL, 0)
    assert evaluate_until(path, 10**9) == 0
    assert sorted((path / "log.jsonl").read_bytes().splitlines()) == sorted(whole.splitlines())


@pytest.mark.slow
def test_an_evaluation_killed_with_9_four_times_gives_the_log_of_an_uninterrupted_one(
    tmp_path: Path, whole: bytes
) -> None:
    rng = random.Random(0)
    kill_and_resume(tmp_path, whole, [rng.randrange(1, len(whole) // 3) for _ in range(4)])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_evaluation_killed_with_9_thirty_times_gives_the_log_of_an_uninterrupted_one(
    tmp_path: Path, whole: bytes
) -> None:
    rng = random.Random(1)
    kill_and_resume(tmp_path, whole, [rng.randrange(1, len(whole) // 15) for _ in range(30)])


@pytest.mark.slow
@given(st.data())
@settings(max_examples=15, deadline=None)
def test_a_log_cut_at_any_byte_is_resumed_to_the_same_content(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, data: st.DataObject
) -> None:
    """Hypothesis chooses the moment; a cut log is what kill -9 leaves, and needs no process of its own."""
    from metagym.envs.gates.meta import GatesMetaEnv
    from metagym.evaluation import EvaluationConfig, evaluate

    config = EvaluationConfig(families=("law-0007",), num_steps=2, num_seeds=2, num_validation=4, num_test=6)
    path = tmp_path_factory.mktemp("cut")
    with GatesMetaEnv("demo") as env:
        evaluate(env, "demo", config=config.model_copy(), path=path)
        log = path / "log.jsonl"
        log.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
        evaluate(env, "demo", config=config, path=path)
    assert sorted(log.read_bytes().splitlines()) == sorted(whole.splitlines())
    shutil.rmtree(path)


def test_two_processes_on_one_evaluation_are_refused(tmp_path: Path) -> None:
    from metagym.envs.gates.meta import GatesMetaEnv
    from metagym.evaluation import EvaluationConfig, evaluate
    from metagym.runs import RunFolder

    assert evaluate_until(tmp_path, 10**9) == 0
    with RunFolder.open(tmp_path, writing=True):
        done = run_python(EVALUATE, str(tmp_path), str(10**9))
    assert "is writing to" in done.stderr
    config = EvaluationConfig(families=("law-0007",), num_steps=2, num_seeds=2, num_validation=4, num_test=6)
    with GatesMetaEnv("demo") as env:
        evaluate(env, "demo", config=config, path=tmp_path)


def test_reading_needs_no_lock(tmp_path: Path) -> None:
    from metagym.runs import RunFolder

    assert evaluate_until(tmp_path, 10**9) == 0
    with RunFolder.open(tmp_path, writing=True):
        code = "import sys; from metagym.evaluation.store import read_report; print(read_report(sys.argv[1]).num_seeds)"
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(SRC.parent)}, check=False,
        )  # fmt: skip
    assert done.stdout == "2\n"


@pytest.mark.skipif(sys.platform == "win32", reason="no process is seen there")
def test_a_writer_is_seen_while_it_holds_the_lock_and_not_after(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert (living_writer(lock), has_writer(lock)) == (None, False)
    journal = Journal(tmp_path / "log")
    journal.lock()
    assert (living_writer(lock), has_writer(lock)) == (os.getpid(), True)
    second = Journal(tmp_path / "log")
    journal.close()
    second.lock()  # looking took no lock
    second.close()
    if Path("/proc/self/fd").exists():
        assert not has_writer(lock)


@pytest.mark.skipif(sys.platform == "win32", reason="no process is seen there")
def test_a_process_that_ended_is_no_writer(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    (tmp_path / "lock").write_bytes(done.stdout)
    assert living_writer(tmp_path / "lock") is None
    assert not has_writer(tmp_path / "lock")


@pytest.mark.parametrize("content", [b"", b"nobody", b"-1", b"0", b"9" * 30, b"\xff\x00"])
def test_a_lock_that_names_no_process_has_no_writer(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lock").write_bytes(content)
    assert living_writer(tmp_path / "lock") is None
    assert not has_writer(tmp_path / "lock")


def test_a_process_of_somebody_else_is_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    (tmp_path / "lock").write_bytes(b"1")
    assert living_writer(tmp_path / "lock") == (None if sys.platform == "win32" else 1)
