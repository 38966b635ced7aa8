"""How is it published honestly? Model folders are checked file by file, cards quote only measured results, one push."""

from __future__ import annotations

from .card import model_card
from .folder import publishable_files
from .push import Pushed, push_model
from .push_dataset import push_dataset

__all__ = ["Pushed", "model_card", "publishable_files", "push_dataset", "push_model"]
