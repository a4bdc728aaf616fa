"""The one exception for a user's mistake."""


class UserError(ValueError):
    """A mistake in what the user gave. Its text is one line: the rule, then the value received.

    The command line prints it on stderr and exits with status 2; from Python it is a `ValueError`.
    """


def shown(value: object, limit: int = 300) -> str:
    """A value as an error shows it, on one line and not for ever.

    >>> shown("a" * 9, limit=5)
    "'aaaa…"
    """
    text = repr(value)
    return text if len(text) <= limit else text[:limit] + "…"
