"""Questions of reasoning-gym: each of its generators is a family, and its own scorer judges the reply.

env   ReasoningEnv, the inner environment; the families and the task set
meta  ReasoningMetaEnv, and ReasoningExpert, which knows the answers
"""
