"""What the process that engines are forked off imports: all that an engine does."""

from engine.runtime.environment import installed_versions, set_environment

set_environment(installed_versions())

import engine.session  # noqa: E402, F401
