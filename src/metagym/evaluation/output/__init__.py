"""The output of evaluations and arenas: tables, figures and files. Nothing here computes a statistic.

panels.py    the curves and bands of a figure, as data      plots.py   figures, with matplotlib
tables.py    tables for the terminal                        exports.py, atif.py   files that other programs read
"""
