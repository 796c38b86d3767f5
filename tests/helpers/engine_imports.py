"""What the process that engines are forked off imports: all that an engine does."""

from engine.runtime.environment import set_environment, versions

set_environment(versions())

import engine.session  # noqa: E402, F401
