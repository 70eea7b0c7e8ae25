"""The version, read by the build and by `pgmoor --version`."""

__version__ = "0.1.0"
