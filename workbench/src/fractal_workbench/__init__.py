"""Run, inspect, test and extend packages of Fractal tasks."""
