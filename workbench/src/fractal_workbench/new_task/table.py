"""Functions of the feature table of an image, as a DataFrame."""

import importlib
import importlib.util
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .function import Function
from .names import Needed, Rejected
from .outcome import OWN, content, describe, is_number, is_same, of_columns

N_ROWS = 12
MOST_COLUMNS = 30


def sample(columns: list[str], seed: int = 0, n_rows: int = N_ROWS) -> Any:
    """Make a feature table."""
    pandas = importlib.import_module("pandas")  # the function's, and no other one's
    rng = np.random.default_rng(seed)
    values = {name: rng.uniform(1, 100, n_rows) for name in columns}
    return pandas.DataFrame({"label": np.arange(1, n_rows + 1)} | values)


def look_at_table(given: Function, function: Callable[..., Any]) -> None:
    """Call a function on small tables, and classify its results.

    Args:
        given: Is completed: `makes`, `result`, `table_columns`.
        function: The function.

    Raises:
        Rejected: It fails, writes into its table, or returns no row and no table.
    """
    if given.makes not in ("", "table"):
        raise Rejected(
            f"--makes {given.makes}: {given.name} takes a table, and such a task makes a "
            "table of the plate: leave it out, or give --makes table."
        )
    if importlib.util.find_spec("pandas") is None:
        raise Needed(
            f"{given.name} takes a DataFrame, and pandas is not installed.",
            [{"--with": "pandas"}],
            "Install it, and make it a dependency, by --with pandas.",
        )
    given.makes, given.table_columns = "table", ["area", "intensity_mean"]
    results = [call(given, function, seed) for seed in (0, 1, 0)]
    if not is_same(content(results[0]), content(results[2])):
        raise Rejected(
            f"{given.name} returns something else when it is called again: it is random, or "
            "keeps something from one call to the next. Give it a seed, or write a function "
            f"without this, {OWN}."
        )
    codes = {code_of(given, result) for result in results}
    if len(codes) > 1:
        raise Rejected(
            f"{given.name} returns {describe(results[0])} of a table, and "
            f"{describe(results[1])} of another table: write a function that always returns "
            f"the same, {OWN}."
        )
    (given.result,) = codes


def call(given: Function, function: Callable[..., Any], seed: int) -> Any:
    """Call a function on a table that gets the columns for which it asks.

    Raises:
        Rejected: It fails, warns, or writes into the table.
    """
    named = {argument.name: argument.tried(function) for argument in given.arguments}
    asked = ""
    while True:
        frame = sample(given.table_columns, seed)
        before = frame.copy()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                result = function(**{given.table: frame}, **named)
        except (KeyError, AttributeError) as error:
            column: Any = error.name if isinstance(error, AttributeError) else None
            column = column or (error.args or ("",))[0]
            known = [*given.table_columns, "label", asked]
            is_new = isinstance(column, str) and column not in known
            if not is_new or len(given.table_columns) >= MOST_COLUMNS:
                raise failed(given, named, error) from error
            asked = column
            given.table_columns.append(column)
        except (Exception, SystemExit) as error:
            raise failed(given, named, error) from error
        else:
            break
    if not frame.equals(before):
        raise Rejected(
            f"{given.name} writes into {given.table}. Begin it with `{given.table} = "
            f"{given.table}.copy()`, or write a function that calls it on a copy, {OWN}."
        )
    return result


def failed(given: Function, named: Mapping[str, Any], error: BaseException) -> Needed:
    """Return the error for a function that fails."""
    return Needed(
        f"{given.name} fails on a table with the columns label, "
        f"{', '.join(given.table_columns)}, with {dict(named)}: {type(error).__name__}: "
        f"{error}",
        [],
        f"Give other values by --set NAME=VALUE, or write a function that calls it, {OWN}.",
    )


def code_of(given: Function, result: Any) -> str:
    """Return how a result becomes rows of the table of a plate: `{}` stands for it.

    Raises:
        Rejected: It is neither numbers by name nor columns.
    """
    if is_number(result):
        return f'{{"{given.name}": {{}}}}'
    part = of_columns(given, result, "yx")
    if part is None:
        raise Rejected(
            f"{given.name} returns {describe(result)} for a table. A task can write a number, "
            "a dict of numbers or a Series (a row for each image), or a DataFrame: write a "
            f"function that returns one of these, {OWN}."
        )
    if not hasattr(result, "iloc") or np.ndim(result) == 1:
        return part.code
    # Numbers without a name are merely positions of rows.
    is_named = result.index.nlevels > 1 or result.index.name is not None
    if is_named or result.index.dtype.kind not in "iu":
        return '{}.reset_index().to_dict("list")'
    return '{}.to_dict("list")'
