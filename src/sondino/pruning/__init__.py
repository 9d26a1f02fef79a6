"""Fewer filters in a trained student, with recovery."""

from sondino.errors import require_extra

require_extra("train")
