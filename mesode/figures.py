"""Figures of a run, drawn from plain arrays: each function takes a part of a run file and returns a matplotlib figure.

Colours are of Okabe and Ito (2008), which people with any colour vision tell apart.
"""

import base64
import io

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

PORE, ACTIVE, BINDER = "#f4f1e8", "#3a5f8a", "#e69f00"
CYCLE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "lines.linewidth": 1.8,
    "axes.prop_cycle": matplotlib.cycler(color=CYCLE),
    "legend.frameon": False,
}


def _figure(width: float, height: float, rows: int = 1, columns: int = 1, **options):
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, **options)


def png(figure: Figure, dpi: int = 130) -> bytes:
    """The figure as PNG bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, facecolor="white")
    return stream.getvalue()


def data_uri(figure: Figure) -> str:
    """The figure as text that an HTML page can hold."""
    return "data:image/png;base64," + base64.b64encode(png(figure)).decode()


def styled(draw):
    """Draws under the house style without touching matplotlib's global settings."""

    def drawn(*arguments, **options):
        with matplotlib.rc_context(STYLE):
            return draw(*arguments, **options)

    drawn.__doc__, drawn.__name__ = draw.__doc__, draw.__name__
    return drawn


def blend(pore, active, binder) -> np.ndarray:
    """Phase fractions as colours, (..., 3) in 0..1: a mixed voxel has a mixed colour."""
    colours = [np.array(matplotlib.colors.to_rgb(c)) for c in (PORE, ACTIVE, BINDER)]
    weights = [np.clip(np.asarray(f, dtype=float), 0, 1) for f in (pore, active, binder)]
    total = np.maximum(sum(weights), 1e-12)
    return sum(w[..., None] * c for w, c in zip(weights, colours, strict=True)) / total[..., None]


@styled
def structure(stages: dict[str, dict]) -> Figure:
    """Three orthogonal slices of each stage, collector at the bottom, all at one scale.

    **Arguments:** `stages`, by name, each with `fractions_pore`, `fractions_active`, `fractions_binder`, (nx, ny, nz),
    and `spacing_m`, (3,).
    """
    sizes = {}
    for name, stage in stages.items():
        sizes[name] = np.array(stage["fractions_pore"].shape) * np.broadcast_to(stage["spacing_m"], 3) * 1e6
    height, width, depth = np.max(list(sizes.values()), axis=0)
    scale = 9.0 / (width + 2 * depth)
    figure = Figure(figsize=(10.6, len(stages) * (max(height, width) * scale + 1.0)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(stages), 3, squeeze=False, width_ratios=(width, depth, depth))
    for row, (name, stage) in zip(axes, stages.items(), strict=True):
        rgb = blend(stage["fractions_pore"], stage["fractions_active"], stage["fractions_binder"])
        nx, ny, nz = rgb.shape[:3]
        lx, ly, lz = sizes[name]
        views = (
            (rgb[:, :, nz // 2], (0, ly, 0, lx), "y", "x", f"z = {lz / 2:.0f} µm"),
            (rgb[:, ny // 2, :], (0, lz, 0, lx), "z", "x", f"y = {ly / 2:.0f} µm"),
            (rgb[nx // 2], (0, lz, 0, ly), "z", "y", f"x = {lx / 2:.0f} µm"),
        )
        for axis, (image, extent, across, up, title) in zip(row, views, strict=True):
            axis.imshow(image, origin="lower", extent=extent, interpolation="nearest")
            axis.set_xlim(0, depth if across == "z" else width)
            axis.set_ylim(0, height if up == "x" else width)
            axis.set(xlabel=f"{across} / µm", ylabel=f"{up} / µm")
            axis.set_title(f"{name}, {title}", fontsize=10)
            axis.set_anchor("S")
            axis.grid(False)
            axis.tick_params(labelsize=8)
    handles = [
        matplotlib.patches.Patch(facecolor=c, edgecolor="#888888", label=n)
        for c, n in ((PORE, "pore"), (ACTIVE, "active material"), (BINDER, "carbon-binder"))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


@styled
def calendering(porosity, pressure_pa, loading=None, thickness_m=None, friction=0.0) -> Figure:
    """Plate pressure over porosity, loading and unloading; where there was no friction the axis says so.

    **Arguments:** `loading`, which points belong to a loading, by default those up to the highest pressure.
    """
    figure, axis = _figure(5.4, 3.9)
    porosity, pressure = np.asarray(porosity), np.asarray(pressure_pa) / 1e6
    loading = _loading(pressure) if loading is None else np.asarray(loading, dtype=bool)
    for index, loads, part in _runs(loading):
        style, colour = ("o-", CYCLE[0]) if loads else ("s--", CYCLE[1])
        name = ("loading" if loads else "unloading (spring-back)") if index < 2 else None
        axis.plot(porosity[part], pressure[part], style, ms=3.5, color=colour, label=name)
    axis.invert_xaxis()
    without = "" if friction > 0 else ", frictionless"
    axis.set(xlabel="porosity", ylabel=f"plate pressure{without} / MPa")
    axis.set_ylim(bottom=0)
    axis.legend()
    if thickness_m is not None and np.ptp(porosity) > 0:
        order = np.argsort(porosity)
        order = order[np.concatenate([[True], np.diff(porosity[order]) > 0])]  # passes meet at the gap
        grid, microns = porosity[order], np.asarray(thickness_m)[order] * 1e6
        if np.all(np.diff(grid) > 0) and np.all(np.diff(microns) > 0):
            edges = (grid[0] - 1, *grid, grid[-1] + 1)  # continued straight, so that the axis can be inverted
            slope = (microns[-1] - microns[0]) / (grid[-1] - grid[0])
            values = (microns[0] - slope, *microns, microns[-1] + slope)
            top = axis.secondary_xaxis(
                "top", functions=(lambda p: np.interp(p, edges, values), lambda t: np.interp(t, values, edges))
            )
            top.set_xlabel("thickness / µm")
    return figure


def _runs(loading: np.ndarray):
    """(index, whether it loads, slice) of each run of equal flags, each from the last point of the one before."""
    ends = [*np.flatnonzero(np.diff(loading.astype(int))), len(loading) - 1]
    start = 0
    for index, end in enumerate(ends):
        yield index, bool(loading[end]), slice(start, end + 1)
        start = int(end)


def _loading(pressure: np.ndarray) -> np.ndarray:
    flags = np.zeros(len(pressure), dtype=bool)
    flags[: int(np.argmax(pressure)) + 1] = True
    return flags


@styled
def binder_profile(depth, binder) -> Figure:
    """Relative binder mass over the thickness; 1 is the mean."""
    figure, axis = _figure(5.4, 3.6)
    axis.plot(depth, binder, color=CYCLE[0])
    axis.axhline(1.0, color="#777777", lw=1, ls=":")
    axis.annotate("mean", (0.015, 1.0), xycoords=("axes fraction", "data"), va="bottom", fontsize=8, color="#555555")
    axis.set(xlabel="relative depth (0 collector, 1 separator)", ylabel="binder / mean binder", xlim=(0, 1))
    low, high = min(0.9, float(np.min(binder))), max(1.1, float(np.max(binder)))
    axis.set_ylim(max(0.0, low - 0.05 * (high - low)), high + 0.05 * (high - low))
    return figure


@styled
def discharge(curves: dict[str, dict]) -> Figure:
    """Voltage over areal capacity at each C-rate.

    **Arguments:** `curves`, by C-rate, each with `time_s`, `voltage_V` and, if known, `current_A_m2`.
    """
    figure, axis = _figure(5.8, 4.0)
    areal = all("current_A_m2" in c for c in curves.values())
    for number, (rate, curve) in enumerate(sorted(curves.items(), key=lambda item: float(item[0]))):
        time = np.asarray(curve["time_s"])
        if areal:
            along = time * np.abs(curve["current_A_m2"]) / 3.6 / 1e4  # C/m2 -> mAh/cm2
        else:
            along = time * float(rate) / 3600.0
        axis.plot(along, curve["voltage_V"], color=CYCLE[number % len(CYCLE)], label=rate_name(rate))
    axis.set(xlabel="discharged capacity / (mAh/cm²)" if areal else "discharged share of 1C", ylabel="cell voltage / V")
    axis.set_xlim(left=0)
    axis.legend(title="rate")
    return figure


def rate_name(rate) -> str:
    """The field's way to write a C-rate: C/2, 1C, 2C."""
    value = float(rate)
    if 0 < value < 1 and abs(1 / value - round(1 / value)) < 1e-6:
        return f"C/{round(1 / value)}"
    return f"{value:g}C"


@styled
def field_map(potential, spacing_m, current=None) -> Figure:
    """A slice of the solved potential, and of the magnitude of the flux where it is given."""
    maps = [(potential, "potential (relative)", "viridis")]
    if current is not None:
        maps.append((current, "flux / mean flux", "magma"))
    figure, axes = _figure(5.0 * len(maps) + 0.4, 4.0, 1, len(maps), squeeze=False)
    edges = np.broadcast_to(spacing_m, 3) * 1e6
    for axis, (field, title, colours) in zip(axes[0], maps, strict=True):
        field = np.asarray(field)
        middle = field[:, :, field.shape[2] // 2] if field.ndim == 3 else field
        extent = (0, middle.shape[1] * edges[1], 0, middle.shape[0] * edges[0])
        top = np.nanpercentile(middle, 99) if np.isfinite(middle).any() else 1.0
        image = axis.imshow(
            np.ma.masked_invalid(middle), origin="lower", extent=extent, cmap=colours, vmax=top, interpolation="nearest"
        )
        axis.set_facecolor("#d9d9d9")
        axis.set(xlabel="y / µm", ylabel="x / µm", title=title)
        axis.grid(False)
        figure.colorbar(image, ax=axis, shrink=0.85)
    return figure


@styled
def tortuosity_profiles(profiles: dict[str, np.ndarray]) -> Figure:
    """The tortuosity factor of each slice along the flux, by case."""
    figure, axis = _figure(6.4, 3.6)
    for name, values in profiles.items():
        values = np.asarray(values)
        depth = (np.arange(values.size) + 0.5) / values.size
        (line,) = axis.plot(depth, values, label=name)
        axis.axhline(values.mean(), color=line.get_color(), linestyle=":", linewidth=1)
    axis.set(xlabel="relative position along the flux (0 first slice, 1 last)", ylabel="tortuosity factor of the slice")
    means = [float(np.mean(values)) for values in profiles.values()]
    if max(means) > 20 * min(means):
        axis.set_yscale("log")
    else:
        axis.set_ylim(bottom=0)
    axis.legend()
    return figure


@styled
def history(objective, name: str = "objective", unseen=None) -> Figure:
    """The objective over the steps of a design."""
    figure, axis = _figure(5.4, 3.6)
    axis.plot(np.arange(len(objective)), objective, "o-", ms=4, color=CYCLE[0], label="design")
    if unseen is not None:
        axis.axhline(float(unseen), color=CYCLE[1], ls="--", lw=1.2, label="random search, best")
        axis.legend()
    axis.set(xlabel="step", ylabel=name)
    axis.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    return figure
