"""Run workflows on a real fractal-server."""
