"""The shell around the optimizer: reads engines, asks for a decision, serves it."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__"]

try:
    __version__ = version("wva-adapter")
except PackageNotFoundError:  # a checkout that isn't installed
    __version__ = "0+unknown"
