"""In what two settings differ, and whether unfinished work can be resumed under the settings of now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anybudget.errors import shown


def differences(first: Mapping[str, Any], second: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys whose values differ between two settings, with both values."""
    found = []
    for key in sorted({*first, *second}):
        before, after = first.get(key), second.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix}{key}: {shown(before)} -> {shown(after)}")
    return found


def conflict(made_with: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """In what unfinished work was begun otherwise than it would be now, with the way out; "" if in nothing.

    Args:
        made_with: the settings in its checkpoint or journal.
        settings: those of now. Where the images lie is no setting; which they are, under `data`, is one. Work that says
            nothing of its data, begun by an older version, agrees with any.
    """
    before, now = _comparable(made_with), _comparable(settings)
    data, data_now = before.pop("data", None), now.pop("data", None)
    changed = differences(before, now)
    if changed:
        return f"other settings ({'; '.join(changed)}); use those, or delete it"
    if data is None or data_now is None or data == data_now:
        return ""
    listed = "; ".join(differences(data, data_now, "data.")) if isinstance(data, dict) else shown(data)
    return f"other data, or the same in other splits ({listed}); put the data back as they were, or delete it"


def _comparable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without the place of the images, which those of older versions hold."""
    recipe = settings.get("recipe")
    data = recipe.get("data") if isinstance(recipe, dict) else None
    if not isinstance(recipe, dict) or not isinstance(data, dict):
        return dict(settings)
    return {**settings, "recipe": {**recipe, "data": {key: data[key] for key in data if key != "source"}}}
