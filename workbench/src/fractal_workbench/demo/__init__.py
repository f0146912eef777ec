"""Run the tasks of a package on real cells."""
