"""A trained student as a file that other runtimes read."""
