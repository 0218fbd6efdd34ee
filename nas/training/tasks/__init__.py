"""The training tasks known by name, and where they are. Imports no torch."""

from __future__ import annotations

TASKS = {
    "bytes": "nas.training.tasks.bytes:ByteText",
    "images": "nas.training.tasks.images:ImageClassification",
    "recall": "nas.training.tasks.recall:Recall",
}
"""What `task.name` of a campaign may say, besides a user's own "package.module:attribute"."""
