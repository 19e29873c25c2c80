"""TextWorldExpress: eight kinds of text games, from its own package on Java. A family is a kind of game.

env   TextWorldExpressEnv, the inner environment; the families, the folds and the task set
meta  TextWorldExpressMetaEnv, and TextWorldExpressExpert, which plays the gold path
"""
