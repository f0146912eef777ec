"""Run workflows under the rules of fractal-server."""
