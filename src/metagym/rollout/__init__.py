"""Rollouts: the one loop that plays an episode, and an engine that plays many at once without a barrier.

episode   run_episode: observe, act, check the action, step; play_on: from this process, or on remote hosts
engine    RolloutEngine: many episodes, each at its own pace; Player: recalls, retries and books them
remote    episodes that are played on another machine: the request that goes there, the result that comes back
"""

from metagym.config import RolloutConfig
from metagym.rollout.engine import Player, Recorder, RolloutEngine
from metagym.rollout.episode import default_score, match_command, progress_score, run_episode

__all__ = [
    "Player",
    "Recorder",
    "RolloutConfig",
    "RolloutEngine",
    "default_score",
    "match_command",
    "progress_score",
    "run_episode",
]
