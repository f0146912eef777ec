"""Documentation of a task package, as a site."""
