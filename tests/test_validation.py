"""Arguments at the public boundary: what is taken, and what each refusal says."""

import autograd
import numpy as np
import pytest

from riemflow import validation
from riemflow.errors import ConvergenceError, DomainError, NotMirrorFlowError, RiemflowError, ShapeError


def test_integers_are_converted_exactly():
    points = validation.as_points("w", [[1, 2], [3, 4]], 2)
    assert points.dtype == np.float64
    np.testing.assert_array_equal(points, [[1.0, 2.0], [3.0, 4.0]])


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ([1.0, np.nan], DomainError, r"entry \[1\] is nan"),
        ([[1.0, 2.0], [np.inf, 0.0]], DomainError, r"entry \[1, 0\] is inf"),
        ([1.0 + 1j, 0.0], DomainError, "complex128"),
        (["a", "b"], DomainError, "real numbers"),
        ([True, False], DomainError, "bool"),
        ([1.0, 2.0, 3.0], ShapeError, r"shape \[\.\.\., 2\]"),
        (1.0, ShapeError, "last axis"),
        ([[1.0], [1.0, 2.0]], ShapeError, "ragged"),
        (None, DomainError, "w is None, but must hold real numbers"),
    ],
)
def test_bad_points_are_refused_with_the_reason(value, error, message):
    with pytest.raises(error, match=message):
        validation.as_points("w", value, 2)


def test_numbers_and_counts_name_their_bounds():
    assert validation.as_number("t", 2, above=0) == 2.0
    with pytest.raises(DomainError, match=r"t is -1\.0, but must lie strictly between 0\.0"):
        validation.as_number("t", -1, above=0.0)
    with pytest.raises(DomainError, match="t must be finite, but it is nan"):
        validation.as_number("t", np.nan)
    with pytest.raises(ShapeError, match="must be one number"):
        validation.as_number("t", [1.0])
    for bad in (0, 1.5, True, "2"):
        with pytest.raises(DomainError, match="at least 1"):
            validation.as_count("dim", bad)


def test_matrices_must_have_the_asked_shape():
    assert validation.as_matrix("Z", [[1, 2]], (None, 2)).shape == (1, 2)
    for bad in ([1.0, 2.0], [[1.0, 2.0, 3.0]], np.zeros((0, 2))):
        with pytest.raises(ShapeError, match="Z has shape"):
            validation.as_matrix("Z", bad, (None, 2))


def test_the_first_point_outside_is_named_with_the_number_of_others():
    with pytest.raises(DomainError, match=r"w = \[-1\.\] \(and 1 more\)"):
        validation.require_inside(
            "w", np.array([[1.0], [-1.0], [-2.0]]), lambda w: w[..., 0] > 0, "R+", "move."
        )


def test_errors_are_also_builtins_and_carry_what_was_reached():
    assert issubclass(ShapeError, ValueError) and issubclass(DomainError, ValueError)
    assert issubclass(NotMirrorFlowError, ValueError) and issubclass(ConvergenceError, RuntimeError)
    error = ConvergenceError("stopped", partial=[1])
    assert isinstance(error, RiemflowError) and error.partial == [1]


@pytest.mark.parametrize(
    "value", [np.ma.array([1.0, 2.0], mask=[False, True]), [np.ma.array([1.0, 2.0], mask=[True, False])]]
)
def test_masked_entries_are_refused(value):
    with pytest.raises(DomainError, match="w has masked entries"):
        validation.as_points("w", value, 2)
    full = np.ma.array([1.0, 2.0], mask=[False, False])
    np.testing.assert_array_equal(validation.as_points("w", full, 2), [1.0, 2.0])


def test_arrays_are_copied():
    mine = np.array([1.0, 2.0])
    assert not np.shares_memory(validation.as_points("w", mine, 2), mine)


@pytest.mark.parametrize(
    ("belongs", "error", "words"),
    [
        (lambda w: w[0] > 0, ShapeError, r"R: domain returned shape \(2,\) where \(5,\)"),
        (lambda w: w > 0, ShapeError, r"shape \(5, 2\)"),
        (lambda w: all(w > 0), ShapeError, r"raised ValueError \(The truth value"),
        (lambda w: w[..., 0], DomainError, "dtype float64 where booleans"),
        (lambda w: None, ShapeError, r"shape \(\)"),
    ],
)
def test_membership_says_what_is_wrong_and_how_to_write_it(belongs, error, words):
    with pytest.raises(error, match=words) as caught:
        validation.membership("R", belongs, np.ones((5, 2)))
    assert "(w > 0).all(axis=-1)" in str(caught.value)


def test_what_a_callable_raised_is_chained_but_its_own_mistakes_are_left_alone():
    def broken(w):
        raise IndexError("too many indices")

    with pytest.raises(ShapeError, match=r"f raised IndexError \(too many indices\)") as caught:
        validation.evaluate("f", broken, np.ones(2), (), "mend it.")
    assert isinstance(caught.value.__cause__, IndexError)
    with pytest.raises(ZeroDivisionError):
        validation.evaluate("f", lambda w: 1 / 0, np.ones(2), (), "mend it.")


@pytest.mark.parametrize("d", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "fun", [lambda w: np.sum(w**2, axis=0), lambda w: np.sum(w**2), lambda w: w[0] ** 2, lambda w: w[:, 0]]
)
def test_no_dimension_hides_a_wrong_axis(fun, d):
    with pytest.raises(ShapeError, match="f "):
        validation.check_vectorised("f", fun, np.ones(d), (), "sum over axis=-1.")
    validation.check_vectorised("f", lambda w: np.sum(w, axis=-1), np.ones(d), (), "")


def test_a_number_traced_by_autograd_says_so():
    with pytest.raises(DomainError, match="w is traced by autograd"):
        autograd.grad(lambda w: validation.as_float("w", w).sum())(np.ones(2))
