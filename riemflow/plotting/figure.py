"""The door to matplotlib, which is imported when a picture is drawn."""

from __future__ import annotations

from riemflow.errors import RiemflowError


def pyplot():
    """Return matplotlib.pyplot, or raise a `RiemflowError` that says how to install it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise RiemflowError("Pictures need matplotlib: pip install 'riemflow[plot]'.") from error
    return plt
