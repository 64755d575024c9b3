"""What is told to a user in one line; any other error is a bug and keeps its traceback."""


class UserError(ValueError):
    """A user's file, setting or machine is the reason; the message is one line that says what would be right."""
