"""The figure of the losses: what it draws from arrays, and that it is a picture."""

import numpy as np

from mesode.figures import png
from mesode.loss_figure import losses

CAUSES = ("ohmic_solid", "kinetic")
PLACES = ("negative", "separator", "positive")


def test_losses_of_a_discharge():
    along = np.linspace(0.0, 1.7e5, 9)
    parts = np.zeros((9, 2, 3))
    parts[:, 1, 0], parts[:, 0, 2], parts[:, 0, 1] = 0.05, np.linspace(0.01, 0.03, 9), 1e-4
    rest = np.linspace(4.1, 3.4, 9)
    figure = losses(along, rest, rest - parts.sum(axis=(1, 2)), parts, CAUSES, PLACES)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["all others", "positive: ohmic, solid", "negative: kinetic"]  # the separator's is too small
    above, below = figure.axes
    assert below.get_xlim()[1] == along[-1] / 3.6e4
    top = below.lines[0].get_ydata()
    assert np.allclose(top, 1e3 * parts.sum(axis=(1, 2)))
    assert np.allclose(above.lines[0].get_ydata(), rest)
    assert png(figure).startswith(b"\x89PNG")
