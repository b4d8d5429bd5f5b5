"""``stellar-arrow new-consumer`` creates a package that works at once; the suite that it passes finds faults in it."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from stellar_arrow_client.errors import InvalidRequestError
from stellar_arrow_client.scaffold import MAX_NAME_LENGTH, TEMPLATE, new_consumer
from tests.docs.blocks import ROOT
from tests.support.environments import new_environment, type_in

FAULTS: dict[str, tuple[dict[str, str], list[str]]] = {
    "rows after the mark are kept": (
        {"self._rows.truncate(size)": "", "self._rows.seek(size)": "self._rows.seek(0, os.SEEK_END)"},
        ["test_kill_loses_and_doubles_nothing"],
    ),
    "the mark is written before the rows": (
        {"self._rows.flush()": "", "os.fsync(self._rows.fileno())": ""},
        ["test_kill_loses_and_doubles_nothing"],
    ),
    "each run begins anew": (
        {"return self._checkpoint.resume(request, self._rows.name) if self._checkpoint else None": "return None"},
        ["test_goes_on_where_it_ended", "test_range_without_rows"],
    ),
    "what cannot be written is passed over": (
        {
            '.open("ab")': '.open("ab", buffering=0)',
            "self._rows.write(": "with __import__('contextlib').suppress(OSError): self._rows.write(",
        },
        ["test_sink_that_fails"],
    ),
    "amounts are floats": (
        {"for row in batch": "for row in [r | {'amount': r['amount'] and float(r['amount'])} for r in batch"}
        | {".to_pylist():": ".to_pylist()]:"},
        ["test_keeps_rows_and_schema"],
    ),
}
"""What is replaced in the sink by what, and the tests that must fail then."""
LONGEST = "a-consumer-with-quite-a-long-name-indeed"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    return new_environment(tmp_path / "environment")


def test_a_new_consumer_passes_at_once(tmp_path: Path, programs: Path) -> None:
    assert len(LONGEST) == MAX_NAME_LENGTH
    made = type_in(f"stellar-arrow new-consumer {LONGEST}", tmp_path, programs)
    assert made.stdout == f"{LONGEST}\n"
    [advice] = re.findall(r"^next: (.*)$", made.stderr, re.M)
    said = type_in(advice, tmp_path, programs).stdout
    assert re.search(r"\d\d passed", said)
    assert "skipped" not in said
    folder = tmp_path / LONGEST
    type_in("ruff check . && ruff format --check . && mypy", folder, programs)
    found = map(json.loads, type_in("stellar-arrow consumers", folder, programs).stdout.splitlines())
    assert LONGEST in [consumer["command"] for consumer in found]


def test_nothing_is_left_of_the_template(tmp_path: Path) -> None:
    folder = new_consumer(LONGEST, tmp_path)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) == len(_template_files())
    left = [path for path in files if "template" in str(path.relative_to(tmp_path)) + path.read_text()]
    assert not left


def test_the_suite_finds_faults(tmp_path: Path, programs: Path) -> None:
    """A sink is given one fault after the other; its tests must fail each time."""
    folder = new_consumer("faulty-consumer", tmp_path)
    type_in("pip install -e '.[test]'", folder, programs)
    sink = folder / "src/faulty_consumer/sink.py"
    sound = sink.read_text()
    for fault, (changes, tests) in FAULTS.items():
        faulty = sound
        for text, change in changes.items():
            assert sound.count(text) == 1, text
            faulty = faulty.replace(text, change)
        sink.write_text(faulty)
        said = type_in(f"pytest -k '{' or '.join(tests)}'", folder, programs, code=1).stdout
        failed = re.findall(r"^FAILED .*::(\w+)", said, re.M)
        assert sorted(failed) == sorted(tests), f"where {fault}: {said}"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("Payments", "lower-case letters"),
        ("payments_db", "joined by hyphens"),
        ("payments--db", "joined by hyphens"),
        ("-payments", "joined by hyphens"),
        ("1payments", "lower-case letters"),
        ("../payments", "lower-case letters"),
        ("payments\n", "lower-case letters"),
        ("", "lower-case letters"),
        ("p" * (MAX_NAME_LENGTH + 1), f"at most {MAX_NAME_LENGTH}"),
        ("class", "choose a name such as class-consumer"),
        ("json", "choose a name such as json-consumer"),
        ("stellar-arrow-client", "knows 'stellar_arrow_client'"),
    ],
)
def test_names_that_cannot_be_used(tmp_path: Path, name: str, complaint: str) -> None:
    with pytest.raises(InvalidRequestError, match=complaint):
        new_consumer(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "payments-db"
    folder.mkdir()
    with pytest.raises(InvalidRequestError, match="payments-db exists already"):
        new_consumer("payments-db", tmp_path)
    assert not list(folder.iterdir())
    with pytest.raises(InvalidRequestError, match="there is no folder"):
        new_consumer("payments-db", tmp_path / "nowhere")


def test_the_template_is_distributed_whole() -> None:
    """What setuptools is told to put into the distribution is all that a copy holds."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = settings["package-data"]["stellar_arrow_client"]
    packed = [path for pattern in patterns for path in TEMPLATE.parent.glob(pattern) if path.is_file()]
    assert sorted(packed) == sorted(_template_files())


def _template_files() -> list[Path]:
    hidden = re.compile(r"__pycache__|/\.")
    return [path for path in TEMPLATE.rglob("*") if path.is_file() and not hidden.search(str(path.relative_to(ROOT)))]
