"""Bridges to other libraries of environments; each needs its package, and no extra of metagym installs it.

textarena            games of TextArena as a meta-environment
verifiers            a task set of verifiers as a meta-environment
verifiers_taskset    a meta-environment as a task set of verifiers
"""
