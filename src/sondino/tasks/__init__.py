"""Labelled data sets: fetch, unpack, read, split."""
