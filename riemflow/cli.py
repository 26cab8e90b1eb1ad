"""The command line: ``riemflow verify``, ``classify``, ``embed`` and ``list``.

Exit status 0: passed; 1: a check failed; 2: bad input, or code of the user's that does not run;
130: interrupted.
"""

from __future__ import annotations

import ast
import csv
import functools
import inspect
import json
import runpy
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import riemflow as rf
from riemflow.autodiff import anp
from riemflow.commuting.classification import Classification
from riemflow.commuting.classification import classify as classify_parametrization
from riemflow.embedding.files import with_suffix
from riemflow.embedding.metric import as_metric
from riemflow.embedding.region import Region
from riemflow.errors import ConvergenceError, DomainError, RiemflowError, ShapeError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Gradient flow on a parametrization is mirror flow, and back: verify it numerically.",
)

At = Annotated[str | None, typer.Option(help="Start, as numbers separated by commas: w for an R, x for a G.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")]

# The modules of riemflow in which names such as NegativeEntropy(3) are looked up, and what they hold.
CATALOGUES = {"legendre": rf.LegendreFunction, "parametrizations": rf.Parametrization, "embedding": Region}


def main() -> None:
    """Run the command line."""
    app()


def _reports_errors(command: Callable) -> Callable:
    """Turn errors into one line on standard error and an exit status."""

    @functools.wraps(command)
    def guarded(*args, **kwargs):
        try:
            return command(*args, **kwargs)
        except typer.Exit:
            raise
        except KeyboardInterrupt as error:
            status, line, cause = 130, "interrupted", error
        except ConvergenceError as error:
            status, line, cause = 1, f"failed: {error}", error
        except (RiemflowError, OSError) as error:
            status, line, cause = 2, f"error: {error}", error
        except (Exception, SystemExit) as error:
            if not kwargs.get("target"):  # nothing of the user's has run: the fault is riemflow's
                raise
            status, line, cause = 2, f"error: {_raised(error, kwargs['target'])}", error
        typer.echo(" ".join(line.split()), err=True)
        raise typer.Exit(status) from cause

    return guarded


def _raised(error: BaseException, target: str) -> str:
    """Name an error that is none of riemflow's, and the line of the user's file it came from, if any."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == target.rpartition(":")[0]]
    where = (own or frames)[-1]
    return f"{target} raised {type(error).__name__}: {error} ({where.filename}, line {where.lineno})"


@app.command()
@_reports_errors
def verify(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE.py:NAME]",
            help="Your R or G, or one of the catalogue, as 'Hadamard(2)'; built-in cases if left out.",
        ),
    ] = None,
    at: At = None,
    data: Annotated[
        Path | None,
        typer.Option(help="CSV: features, then the target in the last column; a header is allowed."),
    ] = None,
    end_time: Annotated[float, typer.Option("--time", help="End time of the flows.")] = 5.0,
    rtol: Annotated[float, typer.Option(help="Flows must agree to ten times this.")] = 1e-8,
    method: Annotated[
        str | None, typer.Option(help="How an R is embedded, as for embed; atlas: through many charts.")
    ] = None,
    json_out: Json = None,
) -> None:
    """Verify that gradient flow and mirror flow are the same flow.

    An R is verified in reverse (embed it, invert the embedding, compare flows), a G forward
    (build its R, compare flows). Without a target: built-in cases in both directions, with a
    negative control that must be refused.
    """
    _require_writable(json_out)
    if target is None:
        if at is not None or data is not None or method is not None:
            raise DomainError("--at, --data and --method need a target FILE.py:NAME.")
        reports, passed = _verify_built_in(rtol, end_time)
    else:
        report, loss = _verify_object(_load(target), at, data, end_time, rtol, method)
        typer.echo(f"{report}\n  {_said(loss, data)}")
        reports, passed = [report.to_dict()], report.passed
    _write(json_out, {"passed": passed, "reports": reports})
    raise typer.Exit(0 if passed else 1)


@app.command()
@_reports_errors
def classify(
    target: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py:G",
            help="A Parametrization, or one of the catalogue, as 'HadamardDifference(2)'.",
        ),
    ],
    at: Annotated[str, typer.Option(help="Start x, as numbers separated by commas.")],
    reach: Annotated[float, typer.Option(help="How far to look, in natural lengths of G.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the random paths.")] = 0,
    json_out: Json = None,
) -> None:
    """Tell whether gradient flow through G is mirror flow on w = G(x), numerically.

    Exit status 0: commuting or projectable, and regular, so it is; 1: not-mirror, undecided or singular.
    """
    _require_writable(json_out)
    G = _load(target, "parametrizations")
    if not isinstance(G, rf.Parametrization):
        raise DomainError(f"{target} is a {type(G).__name__}, but classify needs a Parametrization.")
    found = classify_parametrization(G, _numbers("--at", at), reach=reach, seed=seed)
    typer.echo(str(found))
    _write(json_out, {"subject": G.name, "seed": seed, **_figures(found)})
    mirror = found.verdict in ("commuting", "projectable")
    if mirror and not found.regular:
        typer.echo("Not known to be a mirror flow all the same: ∂G is singular, and Thm 4.8 needs full rank.")
    raise typer.Exit(0 if mirror and found.regular else 1)


@app.command()
@_reports_errors
def embed(
    target: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py:R", help="A LegendreFunction, or one of the catalogue, as 'SimplexEntropy(2)'."
        ),
    ],
    lower: Annotated[str | None, typer.Option(help="Lower corner of a box, comma-separated.")] = None,
    upper: Annotated[str | None, typer.Option(help="Upper corner of the box.")] = None,
    region: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.py:K", help="A region of another kind, or one in numbers, as 'Ball([0, 0], 1)'."
        ),
    ] = None,
    ambient_dim: Annotated[int | None, typer.Option(help="Ambient dimension D.")] = None,
    tol: Annotated[float, typer.Option(help="Metric defect to aim for.")] = 1e-10,
    method: Annotated[str, typer.Option(help="auto, closed-form, compressed, spectral or atlas.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of the solver's start.")] = 0,
    save: Annotated[
        Path | None, typer.Option(help="Write F, the best so far while solving, to this .npz file.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw F(K), for d ≤ 2, to this picture, as OUT.png or .pdf.")
    ] = None,
    json_out: Json = None,
) -> None:
    """Embed (int dom R, ∇²R), or a metric g(w), isometrically and print the dimension and the metric defect.

    Exit status 0: the defect is within the tolerance; 1: it is not; 130: interrupted. In each case --save's
    file holds the best F found, for `riemflow.load_embedding`.
    """
    _require_writable(json_out)
    _require_writable(save and with_suffix(save))
    _require_writable(plot)
    R = _load(target, "legendre")
    K = _region(region, lower, upper)
    if plot is not None and method == "atlas":
        raise DomainError("--plot draws one F(K), but an atlas is many charts: leave it out.")
    if plot is not None and (as_metric(R, K).dim > 2 or K is None):
        raise DomainError("--plot draws F(K) for d ≤ 2 on a region: give --lower and --upper, or --region.")
    options = {"ambient_dim": ambient_dim, "tol": tol, "method": method, "seed": seed, "save": save}
    try:
        F = rf.embed(R, K, **options, progress=True)
    except (KeyboardInterrupt, ConvergenceError) as error:
        F = getattr(error, "partial", None)
        if F is not None:
            _report_embedding(F, seed, save, plot, json_out)
        raise
    _report_embedding(F, seed, save, plot, json_out)
    raise typer.Exit(0 if F.certificate.passed else 1)


def _report_embedding(
    F: rf.IsometricEmbedding, seed: int, save: Path | None, plot: Path | None, json_out: Path | None
) -> None:
    typer.echo(repr(F))
    if save is not None:
        typer.echo(f"It is in {with_suffix(save)}: riemflow.load_embedding reads it.")
    if plot is not None:
        F.plot().savefig(plot)
        typer.echo(f"F(K) is drawn in {plot}.")
    figures = {name: getattr(F, name) for name in ("method", "dim", "ambient_dim")}
    certificate = asdict(F.certificate) | {"passed": F.certificate.passed}
    if "history" in certificate:
        certificate["history"] = [fit._asdict() for fit in certificate["history"]]
    region = None if F.region is None else repr(F.region)
    _write(
        json_out, {"subject": F.name, "seed": seed, "region": region, **figures, "certificate": certificate}
    )


def _region(region: str | None, lower: str | None, upper: str | None) -> Region | None:
    """Return the box, or the region by name, or None if neither is given."""
    if (lower is None) != (upper is None):
        raise DomainError("--lower and --upper describe a box together: give both.")
    if region is not None and lower is not None:
        raise DomainError("Give either --region or a box by --lower and --upper.")
    if lower is not None:
        return rf.Box(_numbers("--lower", lower), _numbers("--upper", upper))
    return None if region is None else _load(region, "embedding")


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


def _load(target: str, *catalogues: str) -> Any:
    """Return the object that FILE.py:NAME or a name of the catalogue with its arguments stands for."""
    path, colon, name = target.rpartition(":")
    if colon and path.endswith(".py"):
        return _from_file(path, name)
    if target.endswith(")"):
        return _from_catalogue(target, catalogues or ("legendre", "parametrizations"))
    raise DomainError(
        f"{target!r} does not name an object: write FILE.py:NAME, or a name of the catalogue with its "
        "arguments, such as 'NegativeEntropy(3)' (riemflow list shows them)."
    )


def _from_file(path: str, name: str) -> Any:
    """Return the object NAME that the Python file FILE.py defines."""
    if not Path(path).is_file():
        raise DomainError(f"{path} is not a file.")
    try:
        names = runpy.run_path(path)
    except RiemflowError:
        raise
    except (Exception, SystemExit) as error:
        raise DomainError(f"{path} does not run: {type(error).__name__}: {error}") from error
    if name not in names:
        raise DomainError(f"{path} defines no {name!r}; check the name after the colon.")
    return names[name]


def _from_catalogue(target: str, catalogues: tuple[str, ...]) -> Any:
    """Return CLASS(ARGUMENTS) of the catalogue. Arguments are literals; nothing is evaluated."""
    try:
        call = ast.parse(target.strip(), mode="eval").body
        if not isinstance(call, ast.Call):
            raise ValueError("it is not of the form CLASS(ARGUMENTS)")
        prefix, _, name = ast.unparse(call.func).rpartition(".")
        arguments = [ast.literal_eval(argument) for argument in call.args]
        options = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise DomainError(f"{target!r} does not name an object of the catalogue: {error}.") from error
    found = []
    for catalogue in [prefix] if prefix in catalogues else catalogues if not prefix else ():
        module, kind = getattr(rf, catalogue), CATALOGUES[catalogue]
        item = getattr(module, name) if name in module.__all__ else None
        if inspect.isclass(item) and issubclass(item, kind) and item is not kind:
            found.append((catalogue, item))
    if not found:
        places = " or ".join(f"riemflow.{catalogue}" for catalogue in catalogues)
        raise DomainError(
            f"There is no {ast.unparse(call.func)!r} in {places}: riemflow list shows the names."
        )
    if len(found) > 1:
        either = " or ".join(f"{catalogue}.{name}(…)" for catalogue, _ in found)
        raise DomainError(f"{name!r} is the name of two objects: write {either}.")
    try:
        return found[0][1](*arguments, **options)
    except TypeError as error:
        raise DomainError(f"{target}: {error}.") from error


def _numbers(name: str, text: str | None) -> np.ndarray:
    try:
        return np.array([float(part) for part in str(text).split(",")])
    except ValueError as error:
        raise DomainError(f"{name} is {text!r}, but must be numbers separated by commas.") from error


def _require_writable(path: Path | None) -> None:
    """Raise an `OSError` now, rather than after the work, if the file cannot be written."""
    if path is None:
        return
    existed = path.exists()
    with path.open("a"):
        pass
    if not existed:
        path.unlink()


def _write(path: Path | None, figures: dict[str, Any]) -> None:
    if path is not None:
        path.write_text(json.dumps(_plain(figures), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """Return plain Python values; JSON knows neither NaN nor infinity, which become null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _figures(found: Classification) -> dict[str, Any]:
    """Return a classification's figures by name, the witness with the slopes c of its linear losses."""
    names = ("verdict", "reason", "regular", "intrinsic", "orbit_dim", "n_conserved", "defect", "noise")
    figures = {
        name: getattr(found, name) for name in (*names, "point", "x_init", "reach", "region", "n_points")
    }
    figures["defects"] = {
        name: {"value": defect.value, "noise": defect.noise} for name, defect in found.defects.items()
    }
    witness = found.witness
    figures["witness"] = witness and {
        "gap": witness.gap,
        "error": witness.error,
        "t_end": witness.t_end,
        "w": witness.w,
        "slopes": [[loss.gradient(witness.w[0]) for loss in pieces.losses] for pieces in witness.losses],
    }
    return figures


def _read_table(path: Path, dim: int) -> rf.losses.LeastSquares:
    """Read features and target from a CSV file into a least-squares loss.

    The first row is a header only if none of its cells is a number.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DomainError(f"{path} is not a CSV file in UTF-8 ({error}): save it as one.") from error
    if rows and not any(map(_is_number, rows[0])):
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


def _verify_object(target: Any, at: str | None, data: Path | None, t: float, rtol: float, method: str | None):
    if isinstance(target, rf.LegendreFunction):
        start = target.domain.interior if at is None else _numbers("--at", at)
        loss = _default_loss(target, start) if data is None else _read_table(data, target.dim)
        return rf.verify_reverse(target, loss, start, t, rtol=rtol, method=method or "auto"), loss
    if isinstance(target, rf.Parametrization):
        if method is not None:
            raise DomainError("--method says how an R is embedded: leave it out for a parametrization.")
        if at is None:
            raise DomainError("A parametrization needs a start: pass --at x1,x2,…")
        start = _numbers("--at", at)
        loss = _forward_loss(target, start) if data is None else _read_table(data, target.dim)
        return rf.verify_forward(target, loss, start, t, rtol=rtol), loss
    raise DomainError(
        f"The object is a {type(target).__name__}, neither a LegendreFunction nor a Parametrization."
    )


def _said(loss: rf.losses.LeastSquares, data: Path | None) -> str:
    rows = f"{len(loss.Y)} row{'s' if len(loss.Y) > 1 else ''}"
    return f"least squares of {rows} " + (f"of {data}" if data else "drawn at random, as no --data is given")


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
