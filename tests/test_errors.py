from __future__ import annotations

import pytest

from disrouter import errors
from disrouter.errors import (
    AgentError,
    ConfigError,
    ContextError,
    DataError,
    DisrouterError,
    InterruptedRunError,
    MissingExtraError,
    ModelError,
    RunError,
    UnknownNameError,
    UsageError,
)


@pytest.mark.parametrize("error", [ConfigError, UnknownNameError, ModelError, DataError, MissingExtraError])
def test_wrong_calls_are_one_trunk(error: type[DisrouterError]) -> None:
    assert issubclass(error, UsageError)
    assert not issubclass(error, RunError)


@pytest.mark.parametrize("error", [AgentError, ContextError, InterruptedRunError])
def test_failed_runs_are_the_other_trunk(error: type[DisrouterError]) -> None:
    assert issubclass(error, RunError)
    assert not issubclass(error, UsageError)


def test_a_query_too_long_is_a_trouble_of_one_agent() -> None:
    assert issubclass(ContextError, AgentError)


def test_the_module_draws_every_error() -> None:
    assert errors.__doc__ is not None
    assert all(name in errors.__doc__ for name in errors.__all__)


def test_an_error_reads_as_message_and_next_step() -> None:
    assert str(DisrouterError("It broke.", hint="mend it")) == "It broke.\nhint: mend it"
    assert str(DisrouterError("It broke.")) == "It broke."


def test_an_unknown_name_comes_with_the_known_ones_and_the_nearest() -> None:
    error = UnknownNameError.of("agent", "smal", ["small", "large"], where="network 'n'")

    assert error.message == "Unknown agent 'smal' in network 'n'. Known: 'small', 'large'."
    assert error.hint == "did you mean 'small'?"


def test_an_unknown_name_like_none_has_no_suggestion() -> None:
    assert UnknownNameError.of("agent", "zzz", ["small"]).hint is None
    assert UnknownNameError.of("agent", "zzz", []).message == "Unknown agent 'zzz'. Known: none."


def test_a_missing_extra_names_the_command_that_installs_it() -> None:
    assert MissingExtraError.of("Ray", "ray").hint == "pip install 'disrouter[ray]'"
