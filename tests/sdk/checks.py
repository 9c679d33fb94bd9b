"""A small runner: checks are functions with a sentence for a name, run against every stage that they are meant for."""

import json
import os
import traceback

TOOL = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
# One transparent pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
PDF = "JVBERi0xLjEKJSVFT0YK"


class Checks:
    """The checks of one file."""

    def __init__(self):
        self.known = []

    def __call__(self, meant=lambda target: True):
        """Takes a function in, for the targets that it is `meant` for."""

        def take(function):
            self.known.append((function, meant))
            return function

        return take

    def run(self, title, stages):
        """Runs all, prints a line a stage and one for each failure, and returns the number of those."""
        wanted, total, failed = os.environ.get("ONLY", ""), 0, 0
        for stage in stages:
            passed, before = 0, failed
            for function, meant in self.known:
                name = f"{function.__name__} [{stage}]"
                if meant(stage.target) and wanted in name:
                    wrong = outcome(function, stage)
                    passed, failed = passed + (not wrong), failed + bool(wrong)
                    if wrong:
                        print(f"{title} {name} ... FAILED\n{wrong}", flush=True)
            total += passed
            print(f"{title} at {stage}: {passed} passed, {failed - before} failed", flush=True)
        print(f"{title}: {total} passed, {failed} failed", flush=True)
        return failed


def outcome(function, stage):
    """What went wrong, with what the provider saw."""
    calls = stage.fleet.fakes[stage.target.provider].calls
    before = len(calls)
    try:
        function(stage)
    except Exception:  # pylint: disable=broad-exception-caught
        seen = [
            f"{call.method} {call.path} {json.dumps(call.json)[:1500]} -> {getattr(call, 'refused', 'taken')}"
            for call in calls[before:]
        ]
        return "\n".join([traceback.format_exc(limit=-3), "the provider saw:", *seen])
    return None


def same(found, expected):
    """An equality that says what it found."""
    assert found == expected, f"found {found!r}, expected {expected!r}"


def raises(kind, act):
    """The error of `kind` that `act` must raise."""
    try:
        act()
    except kind as error:
        return error
    raise AssertionError(f"no {kind} was raised")
