"""The one exception that a user's mistake raises."""


class UserError(ValueError):
    """Input that cannot be used: one sentence with what was expected, what came and what to do.

    Entry points print it as ``error: <sentence>`` and exit with code 2, without a traceback.
    """
