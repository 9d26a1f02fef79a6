"""Labelling an archive by ear: candidates are answered, and a classifier is fitted again after each answer."""
