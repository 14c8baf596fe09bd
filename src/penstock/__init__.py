"""One token source, one bounded pipeline, three transports, any number of readers."""

__version__ = "0.1.0"
