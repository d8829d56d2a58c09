"""What a config held at one moment, kept as text so that nothing can change it and NaN equals NaN."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from nameplate_conformance.law import require


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The values of a config as text, one for each name."""

    texts: Mapping[str, str]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Snapshot":
        """Return a snapshot of what `to_dict` returned."""
        return cls({name: json.dumps(value) for name, value in values.items()})

    def thawed(self) -> dict[str, Any]:
        """Return the values anew, shared with nobody."""
        return {name: cast("Any", json.loads(text)) for name, text in self.texts.items()}

    def require_unchanged(self, values: Mapping[str, Any], when: str) -> None:
        """Require the values to be what they were; *when* begins the message."""
        now = Snapshot.of(values).texts
        names = [name for name in {**self.texts, **now} if self.texts.get(name) != now.get(name)]
        changes = (f"{name} ({self.texts.get(name)} → {now.get(name)})" for name in names[:3])
        require(not names, f"{when} {', '.join(changes)}")
