"""The other half of the namespace package: this half comes with the venv."""

from parity_ns.a import Anchor


def lowest(*anchors: Anchor) -> Anchor:
    """The anchor with the greatest depth."""
    return max(anchors, key=lambda anchor: anchor.depth)
