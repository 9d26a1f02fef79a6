"""Fewer filters in a trained student, with recovery."""

from sondino.errors import require_export

require_export()
