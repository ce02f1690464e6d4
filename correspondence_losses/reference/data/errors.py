"""The one error that reading a data set raises."""

from correspondence_losses.reference.files import FileError


class DataError(FileError):
    """A file of a data set is missing, damaged or does not fit the others."""
