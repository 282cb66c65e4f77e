"""The one exception for what a user can put right. The command line prints it as one sentence and exits with 2."""


class UserError(Exception):
    """Wrong input from outside: a path, a flag, a config value, a checkpoint, a data folder.

    The message is one sentence that names the file or key at fault, what was expected, what was found and what to do.
    """
