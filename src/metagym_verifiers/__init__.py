"""The meta-episode of metagym under the name that verifiers looks for: `vf-eval metagym-verifiers`."""

from metagym.bridges.verifiers_env import MetaEpisodeTaskset, MetaEpisodeVerifiersEnv

__all__ = ["MetaEpisodeTaskset", "MetaEpisodeVerifiersEnv"]
