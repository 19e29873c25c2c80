"""ScienceWorld: experiments of a school's science lessons in text, on Java. A family is a kind of task.

families  the kinds of tasks by their topics, and the folds of their variations
env       ScienceWorldEnv, the inner environment, and its task set
meta      ScienceWorldMetaEnv, and ScienceWorldExpert, which plays the gold path
"""
