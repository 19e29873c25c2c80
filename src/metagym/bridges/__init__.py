"""Bridges to other libraries of environments; each needs its package, and no extra of metagym installs it.

textarena            games of TextArena as a meta-environment
openenv_client       an environment that OpenEnv serves, as a meta-environment
verifiers            a task set of verifiers as a meta-environment
verifiers_taskset    a meta-environment as a task set of verifiers: a reflection is a rollout
skyrl, openenv, verl a meta-episode as an environment of SkyRL, served by OpenEnv, and as an agent loop of verl
verifiers_env        a meta-environment as an environment of verifiers: a meta-episode is a rollout
"""
