"""Installed in place: the venv has only a path line that leads here."""

from dataclasses import dataclass


@dataclass
class Recipe:
    """What to train, and for how long."""

    model: str
    epochs: int = 1

    def longer(self, more: int) -> "Recipe":
        """The same with more epochs."""
        return Recipe(self.model, self.epochs + more)
