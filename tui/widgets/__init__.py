"""Widgets, which do not depend on screens: attributes down, messages up."""
