"""The fixtures of tests that draw a screen."""

from tests.helpers.screen_fixtures import chat, home, last_frame_only, steady_cursor  # noqa: F401
