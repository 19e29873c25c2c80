"""Generated ALFWorld games: from a family and a seed alone. They are not official games.

rooms.py         the rooms, and which things belong in them
games.py         draws a task and a scene from a seed
problem.py       writes a scene as a PDDL problem
walkthrough.py   finds commands that win
export.py        writes games in the official layout
"""
