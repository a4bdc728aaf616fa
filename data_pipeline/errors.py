"""`UserError`, the exception for bad input, and how its messages show values."""


class UserError(ValueError):
    """Bad input from the user. The message is one line: the rule, then the value received.

    The command line prints it on stderr and exits with status 2; from Python it is a `ValueError`.
    """


def shown(value: object, limit: int = 300) -> str:
    """The `repr` of a value for an error message, cut after `limit` characters.

    >>> shown("a" * 9, limit=5)
    "'aaaa…"
    """
    text = repr(value)
    return text if len(text) <= limit else text[:limit] + "…"
