"""Errors of the optimizer.

OptimizerError
├─ InvalidInputError (ValueError)   the caller's argument is out of its stated bounds
└─ IdentifiabilityError             observations don't determine the parameters

Outcomes that are normal (overloaded, infeasible SLO, unknown demand) are values
with a reason, never exceptions.
"""

__all__ = ["IdentifiabilityError", "InvalidInputError", "OptimizerError"]


class OptimizerError(Exception):
    """Anything the optimizer raises."""


class InvalidInputError(OptimizerError, ValueError):
    """An argument is outside its stated bounds; the message names value and bound."""


class IdentifiabilityError(OptimizerError):
    """The observations leave a parameter undetermined, so no fit is returned."""
