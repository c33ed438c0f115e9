"""Shapes and text as an SVG document: what the pictures of this package are made of. Needs no font and no network."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
INK, FAINT, LINE, PAPER = "#1f2933", "#5f6b7a", "#c9d1da", "#ffffff"
_WIDTH_OF_A_LETTER = 0.56
"""Of the font's size, on average; nothing here measures fonts."""


def width_of(text: str, size: float) -> float:
    """Pixels that a text takes, about."""
    return _WIDTH_OF_A_LETTER * size * len(text)


@dataclass
class Drawing:
    """Shapes in pixels, from the upper left corner; later ones lie over earlier ones."""

    width: float
    height: float
    title: str
    """What a reader of the picture is told who cannot see it."""
    _shapes: list[str] = field(default_factory=list)

    def rectangle(
        self, x: float, y: float, width: float, height: float, fill: str, *, stroke: str = "none", radius: float = 0,
        dashed: bool = False, opacity: float = 1,
    ) -> None:  # fmt: skip
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        faded = f' fill-opacity="{opacity:g}"' if opacity < 1 else ""
        self._shapes.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius:g}" '
            f'fill="{fill}" stroke="{stroke}"{dash}{faded}/>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, stroke: str = LINE) -> None:
        self._shapes.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}"/>')

    def arrow(self, path: str, stroke: str = FAINT) -> None:
        """Along an SVG path, its head at the end."""
        self._shapes.append(
            f'<path d="{path}" fill="none" stroke="{stroke}" stroke-width="1.3" marker-end="url(#head)"/>'
        )

    def text(
        self, x: float, y: float, text: str, size: float = 12, *, fill: str = INK, bold: bool = False,
        anchor: str = "start",
    ) -> None:  # fmt: skip
        """`y` is the base line; `anchor` is `start`, `middle` or `end`."""
        weight = ' font-weight="600"' if bold else ""
        self._shapes.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{fill}" text-anchor="{anchor}"{weight}>'
            f"{escape(text)}</text>"
        )

    def as_svg(self) -> str:
        head = (
            '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            f'orient="auto"><path d="M0 0.5 L8 4 L0 7.5 z" fill="{FAINT}"/></marker>'
        )
        size = f"{self.width:.0f} {self.height:.0f}"
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" width="{self.width:.0f}" '
            f'height="{self.height:.0f}" font-family="{FONT}" role="img" aria-label="{escape(self.title)}">',
            f"<title>{escape(self.title)}</title>",
            f"<defs>{head}</defs>",
            f'<rect width="{self.width:.0f}" height="{self.height:.0f}" fill="{PAPER}"/>',
            *self._shapes,
            "</svg>",
        ]
        return "\n".join(lines) + "\n"
