"""Add a task to a package."""
