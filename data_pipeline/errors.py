"""`UserError`, the exception for bad input, and how its messages show values."""


class UserError(ValueError):
    """Bad input from the user. The message is one line: the rule, then the value received.

    The command line prints it on stderr and exits with status 2; from Python it is a `ValueError`.
    """


def shown(value: object, limit: int = 300) -> str:
    """The `repr` of a value for an error message: one line, cut after `limit` characters.

    >>> shown("a" * 9, limit=5)
    "'aaaa…"
    """
    text = repr(value)
    if "\n" in text:  # of a table or an array
        text = " ".join(text.split())
    return text if len(text) <= limit else text[:limit] + "…"
