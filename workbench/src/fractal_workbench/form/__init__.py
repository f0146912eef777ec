"""The forms of tasks in Fractal's web interface."""
