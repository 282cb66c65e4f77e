"""The exceptions for what a user can put right. The command line prints them as one sentence and exits with 2."""


class UserError(Exception):
    """Wrong input from outside: a path, a flag, a config value, a checkpoint, a data folder.

    The message is one sentence that names the file or key at fault, what was expected, what was found and what to do.
    """


class DamagedSample(UserError):
    """A sample's file that cannot be read: replaced by another in training, shown as a black image in evaluation.

    Args:
        message: the sentence. file: the file alone. reason: in words, what is wrong with it.
    """

    def __init__(self, message: str, file: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.file = file
        self.reason = reason
