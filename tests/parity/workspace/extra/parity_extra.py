"""Reached through a path line in the image."""


class Compass:
    """Points somewhere."""

    heading: float = 0.0

    def turn(self, degrees: float) -> "Compass":
        """Turns by so many degrees."""
        self.heading += degrees
        return self
