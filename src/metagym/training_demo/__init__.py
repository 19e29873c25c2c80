"""The toy problem of `metagym train demo`: a tiny reflector learns the laws of Gates. Needs the extra `train`.

gates_problem    the laws, split in two; what a batch reveals; partial credit; the Bayes reflector (no torch)
tiny_reflector   the model that learns: tokenizer, weights and supervised phase, made on the spot
held_out         loops on many laws at once, and the scores of a reflector on laws that it was not trained on
demonstration    training runs with their controls, and their reports
"""
