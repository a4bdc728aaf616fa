"""The one exception for a user's mistake."""


class UserError(ValueError):
    """A mistake in what the user gave. Its text is one line: the rule, then the value received.

    The command line prints it on stderr and exits with status 2; from Python it is a `ValueError`.
    """
