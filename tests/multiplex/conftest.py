"""The fixture of the multiplex room."""

from __future__ import annotations

from multiplex_models import model  # noqa: F401
