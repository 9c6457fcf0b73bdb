"""Parts of a page of HTML: numbers as people write them, text, tables, figures."""

import html
import math
from collections.abc import Mapping

from mesode import figures


def number(value, digits: int = 4) -> str:
    """A number as people write it, to so many significant digits."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return str(value)
    if math.isinf(value):
        return "∞"
    if math.isnan(value):
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        places = max(0, digits - 1 - (math.floor(math.log10(abs(value))) if value else 0))
        return f"{value:.{places}f}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}·10<sup>{int(exponent)}</sup>"


def text(value) -> str:
    """The value as text that HTML shows as it is."""
    return html.escape(str(value))


def drawn(figure, caption: str) -> str:
    """The figure as part of the page, with its caption."""
    alternative = html.escape(caption, quote=True)
    return (
        f'<figure><img alt="{alternative}" src="{figures.data_uri(figure)}"><figcaption>{caption}</figcaption></figure>'
    )


def table(columns: Mapping) -> str:
    """Columns by name as a table; texts stay as they are."""
    head = "".join(f"<th>{text(name.replace('_', ' '))}</th>" for name in columns)
    rows = zip(*columns.values(), strict=True)
    cells = ("".join(f"<td>{text(v) if isinstance(v, str) else number(v)}</td>" for v in row) for row in rows)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"
