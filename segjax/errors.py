"""What segjax says when the user's input cannot be used."""


class InputError(ValueError):
    """Input that cannot be used: one sentence that names the file or field and the fix.

    The command-line programs print it without a traceback; in Python it is a `ValueError`.
    """
