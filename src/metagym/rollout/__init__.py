"""Rollouts: the one loop that plays an episode, and an engine that plays many at once without a barrier.

episode   run_episode: observe, act, check the action, step; play_on: from this process, or on remote hosts
engine    RolloutEngine: many episodes, each at its own pace; attempts, records, the end of a budget
player    Player: recalls what is recorded, retries what failed, books the rest
remote    episodes that are played on another machine: the request that goes there, the result that comes back
"""

from metagym.config import RolloutConfig
from metagym.rollout.engine import RolloutEngine
from metagym.rollout.episode import default_score, match_command, run_episode
from metagym.rollout.player import Player, Recorder

__all__ = ["Player", "Recorder", "RolloutConfig", "RolloutEngine", "default_score", "match_command", "run_episode"]
