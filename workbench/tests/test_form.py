"""Which arguments the web form can show: what we refuse is what breaks there.

The lists below say what the form of fractal-web 1.29.6 did, whose code was given the
schemas: it was built, each of its buttons was pressed, and what it would send was compared
with the defaults. Its validator, Ajv, is asked here again.
"""

import collections
import dataclasses
import datetime
import enum
import fractions
import inspect
import ipaddress
import json
import os
import random
import re
import shutil
import subprocess
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NotRequired

import numpy as np
import pydantic
import pytest
from fractal_task_tools._args_schemas import create_schema_for_single_task
from fractal_task_tools._specs import validate_schema
from pydantic import BaseModel, Field
from pydantic.dataclasses import dataclass
from typing_extensions import TypedDict

from fractal_workbench.form import check
from fractal_workbench.form.model import inline, path_of, read_arguments


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Number(enum.IntEnum):
    ZERO = 0
    ONE = 1


class Model(BaseModel):
    x: int = 1
    y: float | None = None


class Needy(BaseModel):
    x: int


class Nested(BaseModel):
    inner: Model = Model()
    maybe: Model | None = None
    many: list[Model] = []


class Strict(BaseModel, extra="forbid"):
    x: int = 1


class Loose(BaseModel, extra="allow"):
    x: int = 1


class Box(BaseModel):
    inner: "Box | None" = None


class Egg(BaseModel):
    hen: "Hen | None" = None


class Hen(BaseModel):
    egg: Egg | None = None


class Fixed(BaseModel):
    method: Literal["fixed"] = "fixed"
    level: float = 1.0


class Otsu(BaseModel):
    method: Literal["otsu"] = "otsu"
    bins: int = 3


class Wrong(BaseModel):
    x: int = 1.5  # type: ignore[assignment]


class Lost(BaseModel):
    x: float = np.float64(1.5)


class Huge(BaseModel):
    seed: int = 2**60 + 1


class Derived(BaseModel):
    x: int = 1
    y: int = Field(default_factory=lambda data: data["x"])


class Made(BaseModel):
    x: list[int] = Field(default_factory=lambda: [1, 2])


class PathModel(BaseModel):
    folder: Path = Path("a")


class Point(NamedTuple):
    x: int
    y: int


class PointWithDefault(NamedTuple):
    x: int
    y: int = 0


class Dict(TypedDict):
    x: int


class OptionalKey(TypedDict):
    x: int
    y: NotRequired[int]


@dataclasses.dataclass
class Plain:
    x: int = 1


@dataclass
class Checked:
    x: int = 1


Threshold = Annotated[Fixed | Otsu, Field(discriminator="method")]
MIDNIGHT = datetime.datetime(2020, 1, 1)
NEVER = inspect.Parameter.empty


def text(**limits: Any) -> Any:
    return Annotated[str, Field(**limits)]


def integer(**limits: Any) -> Any:
    return Annotated[int, Field(**limits)]


def extra(**keywords: Any) -> Any:
    return Annotated[int, Field(json_schema_extra=keywords)]


# A line for each case, however long: its type, its default, and what we say if we refuse it.
# fmt: off

SHOWN = [
    (int, NEVER), (int, 1), (int | None, None), (int | None, 3), (None | int, 3),
    (float, NEVER), (float, 1), (float | None, None), (str, NEVER), (str, "a b"), (str | None, None), (bool, False),
    (list[int], NEVER), (list[int], [1]), (list[int], (1, 2)), (list[int] | None, None), (list[int] | None, [1]),
    (list[list[int]], []), (list[int | None], []), (list[Model], [Model()]), (list[Threshold], [Otsu()]), (list[Color], []),
    (list[Literal["a", "b"]], ["a"]), (list[tuple[int, int]], [(1, 2)]), (list[dict[str, int]], []),
    (Annotated[list[int], Field(min_length=2)], NEVER), (Annotated[list[int], Field(max_length=2)], []),
    (collections.abc.Sequence[int], (1, 2)), (set[int], {1}), (frozenset[str], frozenset({"a"})), (collections.deque[int], []),
    (tuple[int, int], NEVER), (tuple[int, int], (1, 2)), (tuple[int, int] | None, None), (tuple[int, ...], (1, 2)), (tuple[int], (1,)),
    (tuple[int | None, str | None], (None, None)), (tuple[Literal["a", "b"], int], ("a", 1)), (tuple[Model, int], (Model(), 1)),
    (tuple[tuple[int, int], list[int]], ((1, 2), [3])), (tuple[Threshold, int], (Otsu(), 3)),
    (dict[str, int], {}), (dict[str, int], {"a": 1}), (dict[int, str], {1: "a"}), (dict[str, int] | None, None),
    (dict[str, list[int]], {}), (dict[str, Model], {"a": Model()}), (dict[str, Threshold], {}), (dict[str, int | None], {}),
    (dict[Literal["a", "b"], int], {}), (dict[Color, int], {}), (dict[str, dict[str, int]], {}), (collections.abc.Mapping[str, int], {}),
    (collections.defaultdict[str, int], {}), (collections.Counter[str], {}), (collections.OrderedDict[str, int], {}),
    (Literal["a", "b"], NEVER), (Literal["a", "b"], "a"), (Literal["a"], "a"), (Literal[1, 2], 1), (Literal[1], 1), (Literal[True], True),
    (Color, NEVER), (Color, Color.RED), (Literal[Color.RED], Color.RED),
    (Model, NEVER), (Model, Model()), (Model | None, None), (Model | None, Model()), (Needy, NEVER), (Needy, Needy(x=1)),
    (Nested, NEVER), (Nested, Nested()), (Strict, Strict()), (Made, NEVER), (Plain, NEVER), (Plain, Plain()), (Checked, Checked()),
    (Dict, NEVER), (Dict, {"x": 1}), (Point, NEVER), (Point, Point(1, 2)), (Point | None, None),
    (Threshold, NEVER), (Threshold, Otsu()), (Threshold | None, Otsu()),
    (str, Path("a")), (datetime.date, datetime.date(2020, 1, 1)), (datetime.datetime, NEVER), (datetime.timedelta, datetime.timedelta(1)),
    (datetime.datetime, MIDNIGHT.replace(tzinfo=datetime.UTC)), (uuid.UUID, uuid.UUID(int=1)), (ipaddress.IPv4Address, NEVER),
    (pydantic.HttpUrl, "http://a.b"), (bytes, b"a"), (complex, 1j), (pydantic.SecretStr, NEVER), (pydantic.Json, NEVER), (re.Pattern, NEVER),
    (int, 2**53), (int, -(2**53)), (float, 1e300), (float, 0.0), (integer(le=2**53), 1), (integer(ge=1), 1), (Annotated[float, Field(gt=0)], 0.5), (integer(multiple_of=2), 2), (Annotated[float, Field(multiple_of=0.25)], 0.5), (text(min_length=2), "ab"), (pydantic.PositiveInt, 1),
    (text(pattern="^[a-z]+$"), "abc"), (text(pattern=r"^\d{3}(-[A-Za-z0-9_.-]+)?$"), "123"), (text(pattern=r"^[\w\-.]+$"), NEVER),
    (text(pattern=r"^.*\.(tif|tiff)$"), NEVER), (text(pattern=r"^[^/]+\/$"), NEVER), (text(pattern=re.compile("^(?!a)b")), "b"),
    (integer(description="x"), 1), (integer(deprecated=True), 1), (integer(examples=[1]), 1), (int, Field(3)),
    (extra(readOnly=True), 1), (extra(**{"$comment": "px"}), 1), (extra(**{"not": {"const": 3}}), 1), (extra(nullable=True), 1),
    (Annotated[list[int], Field(json_schema_extra={"uniqueItems": True, "contains": {"const": 3}})], [3]),
]

# It stays empty, as Ajv refuses the schema.
DEAD_BY_AJV = [
    (Path, NEVER, "format path: take a `str`"), (Path | None, None, "format path"), (list[Path], [], "format path"), (dict[str, Path], {}, "format path"),
    (tuple[Path, int], NEVER, "format path"), (dict[Path, int], {}, "format path"), (PathModel, NEVER, r"`x\.folder` .*format path"),
    (pydantic.FilePath, NEVER, "format file-path"), (pydantic.DirectoryPath, NEVER, "format directory-path"), (pydantic.NewPath, NEVER, "format path"),
    (pydantic.UUID4, NEVER, "format uuid4"), (pydantic.UUID1, NEVER, "format uuid1"), (pydantic.IPvAnyAddress, NEVER, "format ipvanyaddress"),
    (ipaddress.IPv4Network, NEVER, "format ipv4network"), (ipaddress.IPv4Interface, NEVER, "format ipv4interface"),
    (pydantic.Base64Str, NEVER, "format base64"), (pydantic.Base64UrlStr, NEVER, "format base64url"), (pydantic.PostgresDsn, NEVER, "format multi-host-uri"),
    (pydantic.NameEmail, NEVER, "format name-email"),
    (text(pattern=r"\Aabc\Z"), NEVER, "JavaScript knows no pattern"), (text(pattern=r"(?P<n>a)"), NEVER, "JavaScript"), (text(pattern="(?i)abc"), NEVER, "JavaScript"),
    (text(pattern="[[:alpha:]]+"), NEVER, "JavaScript"), (text(pattern=r"^[\w-.]+$"), NEVER, "JavaScript"), (text(pattern=r"^a\-b$"), NEVER, "JavaScript"),
    (text(pattern=r"^a\_b$"), NEVER, "JavaScript"), (text(pattern=r"^a\ b$"), NEVER, "JavaScript"), (text(pattern=r"^{a}$"), NEVER, "JavaScript"),
    (text(pattern=r"^a]$"), NEVER, "JavaScript"), (text(pattern=r"^\p{Greek}+$"), NEVER, "JavaScript"), (text(pattern=re.compile("a++")), NEVER, "JavaScript"),
    (text(pattern=re.compile(r"^\012$")), NEVER, "JavaScript"), (text(pattern=re.compile(r"(a)?b(?(1)c|d)")), NEVER, "JavaScript"),
    (text(pattern=re.compile("(?>a)b")), NEVER, "JavaScript"), (text(pattern=re.compile("(?#x)b")), NEVER, "JavaScript"),
    (text(pattern=r"a\z") | None, None, "JavaScript"), (list[text(pattern=r"a\z")], [], "JavaScript"), (dict[text(pattern=r"a\z"), int], {}, "cannot add a value"),
    (PointWithDefault, NEVER, "a tuple has a fixed size"), (PointWithDefault, PointWithDefault(1), "a tuple has a fixed size"),
    (extra(**{"x-unit": "px"}), 1, "knows no x-unit: leave it out"), (extra(unit="px"), 1, "knows no unit"), (extra(format="textarea"), 1, "format textarea"),
]

# It stays empty, or a button of it does nothing, for another reason.
DEAD = [
    (Box, NEVER, "the model Box contains itself"), (Egg | None, None, "the model Egg contains itself"), (list[Box], [], "contains itself"),
    (Threshold | None, None, "stays empty if None is in the place of a model"),
    (Annotated[list[int], Field(min_length=2, max_length=2)], NEVER, "a tuple has a fixed size, a list has not"), (tuple[()], (), "a tuple has a fixed size"),
    (dict, {}, r"cannot add a value of any type: take `dict\[str, float\]`"), (dict, {"a": 1}, "empty if a default has a value of any type: take"), (dict[str, Any], {}, "cannot add"), (Loose, Loose(), "cannot add"),
    (fractions.Fraction, fractions.Fraction(1, 2), "format fraction|take one type"),  # by the version of Pydantic
    (dict[text(pattern="^a"), int], {}, "cannot add"), (text(pattern="(?i:a)b"), NEVER, "JavaScript"),  # of 2024
]

# It shows "Unsupported property".
UNSUPPORTED = [
    (None, None, "take one type, or with None, or models with a discriminator"), (float | list[float], 1.0, "take one type"), (list[float] | float, 1.0, "take one type"),
    (str | Model, "a", "take one type"), (Model | str, "a", "take one type"), (list[int] | dict[str, int], [], "take one type"), (list[int] | list[str], [], "take one type"),
    (Model | list[Model], Model(), "take one type"), (tuple[float, float] | float, 1.0, "take one type"), (dict[str, int | str], {}, "take one type"),
    (extra(type=["integer", "null"]), 1, "take one type"),
]

# It calls the default wrong, or sends another one.
DEFAULTS = [
    (int, 1.5, "1.5 is not of type 'integer'"), (int, "1", "'1' is not of type 'integer'"), (int, None, "None is not of type 'integer'"), (str, None, "not of type 'string'"), (str, 1, "not of type 'string'"), (bool, 1, "not of type 'boolean'"),
    (list[int], None, "not of type 'array'"), (list[int], ["a"], "0: 'a' is not of type 'integer'"), (Model, None, "not of type 'object'"), (dict[str, int], None, "not of type 'object'"),
    (float, fractions.Fraction(1, 2), "not of type 'number'"), (Literal["a", "b"], "c", r"'c' is not one of \['a', 'b'\]"), (tuple[int, int], (1, 2, 3), "is too long"), (Needy, {}, "'x' is a required property"), (Model, {}, r"it sends {'x': None, 'y': None} for the default {}"),
    (Wrong, Wrong(), "`x.x` 1.5 is not of type 'integer'"), (Wrong, NEVER, "`x.x` 1.5 is not of type 'integer'"), (list[Wrong], [], "`x.x` 1.5 is not of type 'integer'"), (OptionalKey, {"x": 1}, "`x.y` its default is lost"),
    (integer(ge=1), 0, "0 is less than the minimum of 1"), (Annotated[float, Field(gt=0)], 0, "0 is less than or equal to the minimum of 0"), (Annotated[float, Field(le=1)], 2, "2 is greater than the maximum of 1"),
    (integer(multiple_of=2), 3, "3 is not a multiple of 2"), (Annotated[float, Field(multiple_of=0.1)], 0.3, "count in such steps"), (text(min_length=2), "a", "'a' is too short"), (text(max_length=2), "abc", "'abc' is too long"), (text(pattern="^[a-z]$"), "A", "'A' does not match"),
    (Annotated[list[int], Field(max_length=1)], [1, 2], "is too long"), (datetime.datetime, MIDNIGHT, "is not a 'date-time'"), (datetime.time, datetime.time(1), "is not a 'time'"),
    (float, float("inf"), "finite number"), (float, float("nan"), "finite number"), (list[float], [float("nan")], "0: None is not of type 'number'"),
    (float, np.float64(1.5), "its default is lost: take one that JSON can hold"), (float, np.float32(1.5), "its default is lost"), (int, np.int64(3), "its default is lost"),
    (list[float], np.array([1.5]), "its default is lost"), (Lost, NEVER, "`x.x` its default is lost"), (Derived, NEVER, "`x.y` its default is lost"), (OptionalKey, NEVER, "its default is lost"),
    (int, 2**53 + 1, "JavaScript changes 9007199254740993: take no more than 2"), (int | None, -(2**63), "JavaScript changes -92233"), (list[int], [1, 10**400], "JavaScript changes 1000"),
    (dict[str, int], {"a": 2**64 - 1}, "JavaScript changes"), (Huge, Huge(), "`x` JavaScript changes 1152921504606846977"), (Literal[1, 2**53 + 1], 1, "JavaScript changes"), (Literal[2**53 + 1], NEVER, "JavaScript changes"),
    (integer(le=2**64 - 1), 1, "JavaScript changes"), (integer(ge=-(2**63) - 1), 1, "JavaScript changes"), (integer(multiple_of=10**400), NEVER, "JavaScript changes"),
    (Huge, NEVER, "`x.seed` JavaScript changes"), (extra(maximum=float("inf")), 1, "JSON has no inf: take a finite number"), (extra(const=float("nan")), NEVER, "JSON has no nan"), (float, -0.0, "JavaScript makes 0 of -0.0: take 0"),
    (str, " a", "the web form strips"), (list[str], ["a "], "the web form strips"), (dict[str, int], {"a ": 1}, "the web form strips"), (pydantic.SecretStr, pydantic.SecretStr("a"), "the web form strips"),
    (Literal[0, 1], 0, r"loses the options \[0\]: take words"), (Literal[0, 1], NEVER, r"loses the options \[0\]"), (Number, Number.ONE, r"loses the options \[0\]"),
    (Literal["", "a"], "a", r"loses the options \[''\]"), (Literal["a ", "b"], "b", "loses the options"), (Literal[True, False], True, r"loses the options \[False\]"),
]

# It would show these, and fractal-task-tools refuses them.
ONLY_TOOLS = [
    (bool, NEVER, "E05"), (list[bool], [], "E05"), (dict[str, bool], {}, "E06"), (tuple[bool, int], (True, 1), "E08"), (bool | None, None, "E10"), (bool | None, True, "E10"),
    (Literal["a", "b"] | None, None, "E11"), (Color | None, None, "E12"), (Literal["a", 1], "a", "E03"), (Literal["a", None], None, "E03"),
]
# fmt: on

REFUSED = DEAD_BY_AJV + DEAD + UNSUPPORTED + DEFAULTS


def schema_of(annotation: Any, default: Any = NEVER) -> dict[str, Any]:
    """Return what fractal-task-tools makes of a task with one argument, `x`."""

    def task(*, x: Any) -> None: ...

    kind = inspect.Parameter.KEYWORD_ONLY
    argument = inspect.Parameter("x", kind, default=default, annotation=annotation)
    task.__signature__ = inspect.Signature([argument])  # type: ignore[attr-defined]
    task.__annotations__ = {"x": annotation}
    with warnings.catch_warnings():
        # Pydantic warns of defaults that it leaves out.
        warnings.simplefilter("ignore")
        return create_schema_for_single_task(__file__, task_function=task)


def complaint(schema: dict[str, Any], *, is_old: bool = False) -> str | None:
    """Return what `nox -s manifest` says of the arguments."""
    try:
        check.check_arguments(schema, is_old=is_old)
    except ValueError as error:
        return f"`{path_of(error)}` {error}"
    return None


def test_arguments_that_the_form_shows_are_accepted():
    for case in SHOWN:
        schema = schema_of(*case)
        validate_schema(schema=schema, path="Task", root_schema=schema)
        assert complaint(schema) is None, case


def test_arguments_that_break_the_form_are_refused():
    for *case, says in REFUSED:
        said = complaint(schema_of(*case))
        assert re.search(says, said or "accepted"), (case, said)


def test_rejections_of_fractal_task_tools_alone_are_attributed_to_it():
    for *case, code in ONLY_TOOLS:
        schema = schema_of(*case)
        assert complaint(schema) is None, case
        with pytest.raises(ValueError, match=rf"\[{code}\]") as refusal:
            validate_schema(schema=schema, path="Task", root_schema=schema)
        _, _, remedy = check.explain(refusal.value, "T").rpartition(" (")
        assert {"form", "fractal-task-tools"} <= {*re.split(r"[^\w-]+", remedy)}, case


def test_arguments_that_the_form_hides_are_refused_but_for_those_that_fractal_sets():
    def task(*, size: int = 1, **options: Any) -> None: ...

    schema = create_schema_for_single_task(__file__, task_function=task)
    assert "hides `**kwargs`" in (complaint(schema) or "")

    def task(*, zarr_url: Path, init_args: dict[str, Any], args: int = 1) -> None: ...

    schema = create_schema_for_single_task(__file__, task_function=task)
    assert complaint(schema) is None


def test_defaults_are_not_judged_for_an_old_fractal_task_tools():
    """Its form leaves out what is empty, and its schemas have no default of None."""
    arguments = {
        "optional": {"type": "integer"},
        "model": {"allOf": [{"$ref": "#/$defs/Model"}], "default": {}},
        "blank": {"type": "string", "default": ""},
        "none": {"type": "array", "items": {"type": "integer"}, "default": None},
    }
    schema = {"type": "object", "additionalProperties": False, "properties": arguments}
    schema["$defs"] = {"Model": {"type": "object", "properties": {}}}
    assert complaint(schema, is_old=True) is None
    assert (
        complaint(schema)
        == "`optional` its default is lost: take one that JSON can hold"
    )
    arguments["folder"] = {"type": "string", "format": "path"}
    assert "`folder` it knows no format path" in complaint(schema, is_old=True)


# What Ajv, the validator of the form, says itself.

AJV = """
import Ajv from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import fs from "fs";

const attempt = (f) => { try { return f() ?? null } catch (error) { return error.message } };
const {schemas, patterns} = JSON.parse(fs.readFileSync(0));
const judge = (schema) => {
  const ajv = addFormats(new Ajv({strict: true, allErrors: true}));
  const validate = ajv.compile(schema);
  const given = schema.properties.x.default;
  if (given === undefined || validate({x: given})) return null;
  return ajv.errorsText(validate.errors);
};
const ajv = addFormats(new Ajv());
console.log(JSON.stringify({
  schemas: schemas.map((schema) => attempt(() => judge(schema))),
  patterns: patterns.map((pattern) => attempt(() => { new RegExp(pattern, "u") })),
  keywords: Object.keys(ajv.RULES.keywords),
  formats: Object.keys(ajv.formats),
}));
"""
PIECES = r"""a - . \d \w \- \. \_ \Z \x41 \u0041 \0 \1 \b \B \/ \a [ ] [^ [a-z] [\w-.] [\w.-] [a-z-\d] &&
    ( ) (?: (?= (?<= (?! (?i) (?<n> (?P<n> { } {2} {2,} {,3} * + ? | ^ $ é"""


@pytest.fixture(scope="module")
def ajv(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Return a function that asks Ajv, where there is one to be had."""
    folder = tmp_path_factory.mktemp("ajv")
    (folder / "judge.mjs").write_text(AJV, encoding="utf-8")
    install = ("npm", "install", "--no-audit", "--no-fund", "ajv@8", "ajv-formats@3")
    try:
        if not shutil.which("npm"):
            raise OSError("there is no npm")
        options = {"cwd": folder, "capture_output": True, "timeout": 120}
        subprocess.run(install, check=True, **options)
    except (OSError, subprocess.SubprocessError) as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI has to ask Ajv: {error}")
        pytest.skip(f"Ajv is not to be had: {error}")

    def ask(schemas: Any = (), patterns: Any = ()) -> dict[str, Any]:
        question = json.dumps({"schemas": [*schemas], "patterns": [*patterns]})
        command = ["node", str(folder / "judge.mjs")]
        options = {"capture_output": True, "text": True, "encoding": "utf-8"}
        answer = subprocess.run(command, input=question, check=True, **options)
        return json.loads(answer.stdout)

    return ask


def in_form(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema as the form gives it to Ajv."""
    arguments = read_arguments(schema)
    return inline(arguments.schema, arguments.models)


def test_ajv_accepts_the_arguments_that_we_accept_with_their_defaults(ajv):
    schemas = [in_form(schema_of(*case)) for case in SHOWN]
    judged = zip(SHOWN, ajv(schemas=schemas)["schemas"], strict=True)
    assert [(case, error) for case, error in judged if error] == []


def test_ajv_rejects_the_values_that_we_reject(ajv):
    schemas = [in_form(schema_of(*case[:2])) for case in DEAD_BY_AJV]
    judged = zip(DEAD_BY_AJV, ajv(schemas=schemas)["schemas"], strict=True)
    assert [case for case, error in judged if error is None] == []


def test_ajv_knows_the_keywords_and_formats_that_we_know(ajv):
    known, ours = ajv(), {*check.KEYWORDS.split()}
    # The form takes this one out.
    assert ours - {*known["keywords"]} == {"discriminator"}
    assert {*check.FORMATS.split()} <= {*known["formats"]}


def test_javascript_takes_the_patterns_that_we_accept_and_no_others(ajv):
    dice, pieces = random.Random(0), PIECES.split()
    patterns = {
        "".join(dice.choices(pieces, k=dice.randint(1, 6))) for _ in range(20000)
    }
    valid = []
    for pattern in sorted(patterns):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                re.compile(pattern)
            except re.error:
                continue
        # In JavaScript alone, a look-around can not be repeated.
        if not re.search(r"\(\?[=!<].*\)[*+?{]", pattern):
            valid.append(pattern)
    assert len(valid) > 1000
    answers = ajv(patterns=valid)["patterns"]
    ours = [bool(check.PATTERN.fullmatch(pattern)) for pattern in valid]
    judged = zip(valid, ours, answers, strict=True)
    assert [p for p, accepted, error in judged if accepted != (error is None)] == []
