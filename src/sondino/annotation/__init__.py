"""Labelling an archive by ear: candidates are judged, and a classifier is fitted again after each answer."""
