"""A package that only the image's own Python has."""


def answer(question: str) -> int:
    """Count the letters of a question."""
    return len(question)
