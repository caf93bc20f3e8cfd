"""Lessons: a folder with a script, its repair, and a text that leads through the recorded runs (docs/lessons.md).

Nothing here imports torch or Textual: the scripts run in processes of their own.
"""
