"""Imports all that an engine needs, in the process that test engines are forked from."""

from engine.runtime.environment import installed_versions, set_environment

set_environment(installed_versions())

import engine.session  # noqa: E402, F401
