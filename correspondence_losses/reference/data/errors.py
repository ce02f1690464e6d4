"""The one error that reading a data set raises."""


class DataError(ValueError):
    """A file of a data set is missing, damaged or does not fit the others.

    The message begins with the path of the file and says what is wrong with it.
    """
