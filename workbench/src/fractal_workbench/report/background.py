"""The channels that the arguments of a step name: labels are shown on these."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..engine.history import StepDone
from .views import Channel, View


def named_channels(done: StepDone, view: View) -> list[Channel]:
    """Channels of a view that the arguments of a step name, in their order.

    An argument is a channel of Fractal (`wavelength_id` or `label`), or one of ngio or of
    the kit (`mode` and `identifier`). A text or number with `channel` in its name is one, too.
    Defaults count for arguments that are not given.
    """
    channels: list[Channel] = []
    for part in ("parallel", "non_parallel"):
        given = getattr(done.step, f"args_{part}") or {}
        schema = getattr(done.task, f"args_schema_{part}") or {}
        known: Mapping[str, Any] = schema.get("properties") or {}
        defaults = {
            name: value["default"]
            for name, value in known.items()
            if isinstance(value, dict) and value.get("default") is not None
        }
        for name, value in (defaults | given).items():
            for mode, identifier in references(name, value):
                for index, channel in enumerate(view.channels):
                    keys = {
                        "label": channel.name,
                        "wavelength_id": channel.wavelength,
                        "index": str(channel.index),
                    }
                    wanted = [keys[mode]] if mode in keys else [*keys.values()][:2]
                    if identifier in wanted and view.channels[index] not in channels:
                        channels.append(channel)
    return channels


def references(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Mode and identifier of each channel that an argument names; the mode may be empty."""
    if isinstance(value, list):
        for item in value:
            yield from references(name, item)
    elif isinstance(value, Mapping):
        identifiers = value.get("identifiers") or [value.get("identifier")]
        for identifier in identifiers if isinstance(identifiers, list) else ():
            if identifier is not None:
                yield str(value.get("mode") or "label"), str(identifier)
        for mode in ("wavelength_id", "label", "index"):
            if value.get(mode) is not None:
                yield mode, str(value[mode])
    elif "channel" in name and isinstance(value, str) and value:
        yield "", value
    elif "channel" in name and type(value) is int:
        yield "index", str(value)
