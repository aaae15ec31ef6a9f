"""Exceptions a caller may catch; each message says what was expected, what was found and what to do."""


class ThoraxError(Exception):
    """Base of every error that Thorax raises on purpose."""


class DataError(ThoraxError):
    """An image, label, table or folder is not what the task needs."""


class ConfigError(ThoraxError):
    """A setting, network name, weights file or prerequisite does not fit."""


class OutputError(ThoraxError):
    """A result cannot be written where it was asked for."""
