"""What ends a run in one sentence: a user's mistake, and numbers that are no longer finite."""


class UserError(ValueError):
    """Input that cannot be used: one sentence with what was expected, what came and what to do.

    Entry points print it as ``error: <sentence>`` and exit with code 2, without a traceback.
    """


class Incomplete(UserError):
    """Done, but for some inputs that were left out, each of which was named; entry points exit with code 1."""


class Diverged(RuntimeError):
    """Losses, gradients or outputs that are not finite; entry points print the sentence and exit with code 3."""
