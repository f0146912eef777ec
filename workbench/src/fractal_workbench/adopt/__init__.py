"""Bring a package of the official template under this one."""
