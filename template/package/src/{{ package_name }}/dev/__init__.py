"""Tools of the developers, which a Fractal server does not run."""
