"""The exceptions riemflow raises.

Each is a `RiemflowError` and also the builtin a caller would expect, so that
``except ValueError`` keeps working. Messages name the value, the bound it broke and the remedy.
"""

from typing import Any


class RiemflowError(Exception):
    """Base class of every error raised on purpose by riemflow."""


class ShapeError(RiemflowError, ValueError):
    """An array has the wrong shape, or a callable returns one."""


class DomainError(RiemflowError, ValueError):
    """A value lies outside the set on which the mathematics is defined.

    NaN, infinite or complex numbers, a point on or outside the boundary of a domain, a matrix
    that is not positive definite, an option outside its range.
    """


class NotMirrorFlowError(RiemflowError, ValueError):
    """The parametrization does not induce a mirror flow, as far as the check could see.

    Attributes
    ----------
    check : the failed check, with its defect, tolerance and worst point, or None.
    """

    def __init__(self, message: str, check: Any = None):
        super().__init__(message)
        self.check = check


class FileFormatError(RiemflowError, ValueError):
    """A file is not one that riemflow wrote, is damaged, or comes from a newer version."""


class NoClosedFormError(RiemflowError, ValueError):
    """No closed form is known for the requested object; a numerical method has to be asked for."""


class ConvergenceError(RiemflowError, RuntimeError):
    """An iteration or an integration stopped before it reached its goal.

    Attributes
    ----------
    partial : what had been reached (a `Flow`, an embedding, an array), or None.
    """

    def __init__(self, message: str, partial: Any = None):
        super().__init__(message)
        self.partial = partial
