"""Imports all that an engine needs, in the process that test engines are forked from."""

from engine.runtime.environment import set_environment, versions

set_environment(versions())

import engine.session  # noqa: E402, F401
