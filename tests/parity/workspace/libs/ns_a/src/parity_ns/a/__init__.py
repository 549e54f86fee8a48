"""One half of a namespace package: this half comes with the image."""


class Anchor:
    """Holds a depth in metres."""

    def __init__(self, depth: float) -> None:
        self.depth = depth

    def raised(self, metres: float) -> "Anchor":
        """A new anchor, higher by so many metres."""
        return Anchor(self.depth - metres)
