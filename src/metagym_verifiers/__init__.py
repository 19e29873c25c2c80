"""The meta-episode of metagym, where verifiers looks for an environment: `vf-eval metagym-verifiers`."""

from metagym.bridges.verifiers_env import MetaEpisodeTaskset, MetaEpisodeVerifiersEnv

__all__ = ["MetaEpisodeTaskset", "MetaEpisodeVerifiersEnv"]
