"""The command line: ``riemflow verify``, ``riemflow embed`` and ``riemflow list``.

Exit status 0: passed; 1: a check failed; 2: bad input.
"""

from __future__ import annotations

import csv
import functools
import inspect
import json
import runpy
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import riemflow as rf
from riemflow.autodiff import anp
from riemflow.errors import ConvergenceError, DomainError, RiemflowError, ShapeError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Gradient flow on a parametrization is mirror flow, and back: verify it numerically.",
)

At = Annotated[str | None, typer.Option(help="Start, as numbers separated by commas: w for an R, x for a G.")]
Target = Annotated[str, typer.Argument(metavar="FILE.py:NAME", help="A LegendreFunction or Parametrization.")]


def main() -> None:
    """Run the command line."""
    app()


def _reports_errors(command: Callable) -> Callable:
    """Turn riemflow's errors into one line on standard error and an exit status."""

    @functools.wraps(command)
    def guarded(*args, **kwargs):
        try:
            return command(*args, **kwargs)
        except ConvergenceError as error:
            typer.echo(f"failed: {_one_line(error)}", err=True)
            raise typer.Exit(1) from error
        except (RiemflowError, OSError) as error:
            typer.echo(f"error: {_one_line(error)}", err=True)
            raise typer.Exit(2) from error

    return guarded


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


@app.command()
@_reports_errors
def verify(
    target: Annotated[
        str | None,
        typer.Argument(metavar="[FILE.py:NAME]", help="Your R or G; built-in cases if left out."),
    ] = None,
    at: At = None,
    data: Annotated[
        Path | None,
        typer.Option(help="CSV: features, then the target in the last column; a header is allowed."),
    ] = None,
    end_time: Annotated[float, typer.Option("--time", help="End time of the flows.")] = 5.0,
    rtol: Annotated[float, typer.Option(help="Flows must agree to ten times this.")] = 1e-8,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Verify that gradient flow and mirror flow are the same flow.

    An R is verified in reverse (embed it, invert the embedding, compare flows), a G forward
    (build its R, compare flows). Without a target: built-in cases in both directions, with a
    negative control that must be refused.
    """
    if target is None:
        if at is not None or data is not None:
            raise DomainError("--at and --data need a target FILE.py:NAME.")
        reports, passed = _verify_built_in(rtol, end_time)
    else:
        report = _verify_object(_load(target), at, data, end_time, rtol)
        typer.echo(str(report))
        reports, passed = [report.to_dict()], report.passed
    if json_out is not None:
        json_out.write_text(json.dumps({"passed": passed, "reports": reports}, indent=2) + "\n")
    raise typer.Exit(0 if passed else 1)


@app.command()
@_reports_errors
def embed(
    target: Target,
    lower: Annotated[str | None, typer.Option(help="Lower corner of a box, comma-separated.")] = None,
    upper: Annotated[str | None, typer.Option(help="Upper corner of the box.")] = None,
    dimension: Annotated[int | None, typer.Option(help="Ambient dimension D.")] = None,
    tol: Annotated[float, typer.Option(help="Metric defect to aim for.")] = 1e-10,
    seed: Annotated[int, typer.Option(help="Seed of the solver's start.")] = 0,
) -> None:
    """Embed (int dom R, ∇²R) isometrically and print the dimension and the metric defect."""
    R = _load(target)
    if not isinstance(R, rf.LegendreFunction):
        raise DomainError(f"{target} is a {type(R).__name__}, but embed needs a LegendreFunction.")
    if (lower is None) != (upper is None):
        raise DomainError("--lower and --upper describe a box together: give both.")
    region = None if lower is None else rf.Box(_numbers("--lower", lower), _numbers("--upper", upper))
    F = rf.embed(R, region, ambient_dim=dimension, tol=tol, seed=seed, progress=True)
    typer.echo(repr(F))
    if F.certificate is not None:
        typer.echo(str(F.certificate))


@app.command("list")
def list_catalogue() -> None:
    """List the catalogue: Legendre functions, parametrizations and losses."""
    for title, module in (
        ("Legendre functions", rf.legendre),
        ("Parametrizations", rf.parametrizations),
        ("Losses", rf.losses),
    ):
        typer.echo(f"{title} (riemflow.{module.__name__.split('.')[-1]})")
        for name in module.__all__:
            item = getattr(module, name)
            if inspect.isclass(item) and item not in (rf.LegendreFunction, rf.Parametrization):
                arguments = ", ".join(inspect.signature(item).parameters)
                summary = (inspect.getdoc(item) or "").splitlines()[0]
                typer.echo(f"  {name}({arguments})  {summary}")


def _load(target: str) -> Any:
    """Return the object NAME that the Python file FILE.py defines."""
    path, colon, name = target.rpartition(":")
    if not colon or not path.endswith(".py"):
        raise DomainError(f"{target!r} does not name an object: write FILE.py:NAME.")
    if not Path(path).is_file():
        raise DomainError(f"{path} is not a file.")
    try:
        names = runpy.run_path(path)
    except RiemflowError:
        raise
    except Exception as error:
        raise DomainError(f"{path} does not run: {type(error).__name__}: {error}") from error
    if name not in names:
        raise DomainError(f"{path} defines no {name!r}; check the name after the colon.")
    return names[name]


def _numbers(name: str, text: str) -> np.ndarray:
    try:
        return np.array([float(part) for part in text.split(",")])
    except ValueError as error:
        raise DomainError(f"{name} is {text!r}, but must be numbers separated by commas.") from error


def _read_table(path: Path, dim: int) -> rf.losses.LeastSquares:
    """Read features and target from a CSV file into a least-squares loss."""
    with path.open(newline="") as file:
        rows = [row for row in csv.reader(file) if row]
    if rows and not _is_number(rows[0][0]):
        rows = rows[1:]
    if not rows:
        raise DomainError(f"{path} holds no rows of numbers.")
    table = []
    for line, row in enumerate(rows, start=1):
        bad = [cell for cell in row if not _is_number(cell)]
        if bad:
            raise DomainError(f"{path}, data row {line}: {bad[0]!r} is not a number; encode or remove it.")
        if len(row) != dim + 1:
            raise ShapeError(
                f"{path}, data row {line}: {len(row)} columns, but {dim} features and a target are needed."
            )
        table.append([float(cell) for cell in row])
    array = np.array(table)
    return rf.losses.LeastSquares(array[:, :-1], array[:, -1])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _verify_object(target: Any, at: str | None, data: Path | None, t: float, rtol: float):
    if isinstance(target, rf.LegendreFunction):
        start = target.domain.interior if at is None else _numbers("--at", at)
        loss = _default_loss(target, start) if data is None else _read_table(data, target.dim)
        return rf.verify_reverse(target, loss, start, t, rtol=rtol)
    if isinstance(target, rf.Parametrization):
        if at is None:
            raise DomainError("A parametrization needs a start: pass --at x1,x2,…")
        start = _numbers("--at", at)
        loss = _forward_loss(target, start) if data is None else _read_table(data, target.dim)
        return rf.verify_forward(target, loss, start, t, rtol=rtol)
    raise DomainError(
        f"The object is a {type(target).__name__}, neither a LegendreFunction nor a Parametrization."
    )


def _default_loss(R: rf.LegendreFunction, w_init: np.ndarray) -> rf.losses.LeastSquares:
    """Return seeded least squares, fewer rows than unknowns, with a solution half a unit of ∇²R away."""
    rng = np.random.default_rng(0)
    factor = np.linalg.cholesky(R.hessian(w_init))
    step = 0.5 * np.linalg.solve(factor.T, rng.standard_normal(R.dim) / np.sqrt(R.dim))
    while not R.domain.belongs(w_init + 1.2 * step):
        step *= 0.5
    Z = rng.standard_normal(((R.dim + 1) // 2, R.dim))
    return rf.losses.LeastSquares(Z, Z @ (w_init + step))


def _forward_loss(G: rf.Parametrization, x_init: np.ndarray) -> rf.losses.LeastSquares:
    """Return seeded least squares whose solution is a short tangential step away from x_init."""
    rng = np.random.default_rng(0)
    w, jacobian = G(x_init), G.jacobian(x_init)
    step = 0.2 * jacobian @ (jacobian.T @ rng.standard_normal(G.dim))
    Z = rng.standard_normal(((G.dim + 1) // 2, G.dim))
    return rf.losses.LeastSquares(Z, Z @ (w + step))


def _log_sum_exp(w: np.ndarray) -> np.ndarray:
    """ln(1 + Σ e^{w_i}) + ‖w‖²/20 as a user would write it, so that no structure is visible."""
    return anp.log(1 + anp.sum(anp.exp(w), axis=-1)) + 0.05 * anp.sum(w**2, axis=-1)


def _built_in() -> Iterator[tuple[str, bool, Callable]]:
    """Yield (title, whether it must pass, verification) for each built-in case."""
    Z = np.array([[1.0, 2.0, -1.0]])
    difference, entropy = rf.parametrizations.HadamardDifference(3), rf.legendre.NegativeEntropy(3)
    plain = rf.LegendreFunction(_log_sum_exp, 2, name="log-sum-exp + quadratic, as a plain callable")
    factorization = rf.parametrizations.MatrixFactorization(2, 2)
    x_init = np.array([0.9, 1.1, 1.0, 0.8, 1.2, 0.7])
    least_squares = rf.losses.LeastSquares
    yield (
        "forward: w = u² - v², a commuting parametrization",
        True,
        lambda rtol, t: rf.verify_forward(difference, least_squares(Z, [1.0]), x_init, t, rtol=rtol),
    )
    yield (
        "reverse: entropy, an embedding in closed form",
        True,
        lambda rtol, t: rf.verify_reverse(entropy, least_squares(Z, [1.5]), [0.5, 1.0, 2.0], t, rtol=rtol),
    )
    yield (
        "reverse: a mirror map without closed form, a spectral embedding",
        True,
        lambda rtol, t: rf.verify_reverse(plain, least_squares(Z[:, :2], [0.7]), [0.1, -0.3], t, rtol=rtol),
    )
    yield (
        "forward, negative control: matrix factorization, w = UUᵀ",
        False,
        lambda rtol, t: rf.verify_forward(
            factorization, least_squares(Z, [1.0]), [1.0, 0.2, -0.3, 0.8], t, rtol=rtol
        ),
    )


def _verify_built_in(rtol: float, t: float) -> tuple[list[dict], bool]:
    reports, passed = [], True
    for title, wanted, run in _built_in():
        started = time.perf_counter()
        report = run(rtol, t)
        good = report.passed == wanted
        passed &= good
        reports.append({"case": title, "as_expected": good, **report.to_dict()})
        typer.echo(f"[{'ok' if good else 'WRONG'}] {title}  ({time.perf_counter() - started:.1f} s)")
        typer.echo(str(report) + ("" if wanted else "\n  (a negative control: it must be refused)") + "\n")
    typer.echo(f"{'All' if passed else 'NOT all'} {len(reports)} cases came out as they must.")
    return reports, passed
