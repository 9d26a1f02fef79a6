"""Lists of sound, CSV or Parquet: one definition of their columns and values for every command that reads one.

A column is used, or refused by its name, or it is about something else: nothing that decides which sound is
used, under which label and in which part, is dropped.
"""

from sondino.lists.sound_list import SoundList, read_list
from sondino.lists.values import BETWEEN_LABELS, SPLITS

SUFFIXES = (".csv", ".parquet")
"""Of the files that are lists, lower case."""

__all__ = ["BETWEEN_LABELS", "SPLITS", "SUFFIXES", "SoundList", "read_list"]
