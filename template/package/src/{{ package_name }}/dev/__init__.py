"""What the developers of the tasks need, and a Fractal server does not run."""
