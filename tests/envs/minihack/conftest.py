"""Skips what needs minihack where it is not installed."""

from __future__ import annotations

import importlib.util

collect_ignore_glob: list[str] = []
if importlib.util.find_spec("minihack") is None or importlib.util.find_spec("nle") is None:
    collect_ignore_glob = ["test_minihack_env.py", "test_minihack_engine.py", "test_minihack_demo.py"]
    collect_ignore_glob += ["test_minihack_tasks.py", "test_minihack_questions.py"]
