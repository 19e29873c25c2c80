"""The toy problem of `metagym train demo`: a tiny reflector learns the laws of Gates. Needs the extra `train`.

gates_problem    the laws, split in two; the facts in a batch; the Bayes reflector; scores on held-out laws (no torch)
tiny_reflector   the model that learns, made on the spot or given; its supervised phase
demonstration    training runs with their controls, and their reports
"""
