"""Changes of types that tables need before they are created, and that outlive them."""

from dataclasses import dataclass, field


@dataclass
class TypeChanges:
    """Statements, as pairs of the one that creates a type and the one that drops it."""

    created: list[tuple[str, str]] = field(default_factory=list)
    extended: list[str] = field(default_factory=list)
    """Statements that add members; a downgrade leaves them."""
    dropped: list[tuple[str, str]] = field(default_factory=list)
