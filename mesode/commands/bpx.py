"""What `mesode export --format bpx` writes: a cell of any kind, and where it comes from."""

import pathlib

from mesode.commands.cells import NOMINAL_Ah, load_cell
from microstructure.exchange.bpx import BpxCell, read_bpx

_REFERENCES = {
    "Marquis2019": "Marquis et al. 2019, doi:10.1149/2.0341915jes",
    "Chen2020": "Chen et al. 2020, doi:10.1149/1945-7111/ab9050",
    "Xu2019": "Xu et al. 2019, doi:10.1149/2.0161914jes",
}
_OF_RUN = (
    "Thickness, porosity, transport efficiency, conductivity, surface area and particle radius of the positive are "
    "those of its structure; chemistry, negative electrode and separator those of Chen et al. 2020."
)


def bpx_of(name: str, run=None) -> BpxCell:
    """The values of a BPX file for any cell of a command line; `run`, the content of its run file if it is one."""
    from solver.cell.bpx_export import bpx_from_cell

    cell, nominal = load_cell(name)
    return bpx_from_cell(cell, nominal_capacity=nominal, **(_of_run(name, run) if run else _of_named(name)))


def _of_run(name, run) -> dict:
    """The header, and under `User-defined` what the structure is known to be and the standard has no field for."""
    electrode, made = run["electrode"], run.get("provenance", {})
    found = {
        "binder fraction": electrode["binder_fraction"],
        "specific area [m-1]": electrode["specific_area_per_m"],
    }
    for axis, relative in electrode.get("relative_diffusivity", {}).items():
        if relative > 0:  # or there is no path along this axis
            found[f"relative diffusivity {axis}"] = relative
            found[f"tortuosity factor {axis}"] = electrode["porosity"] / relative
    told = [f"{key} {made[key]}" for key in ("time", "commit", "seed") if made.get(key) is not None]
    by = f"Mesode {made.get('versions', {}).get('mesode', '')}".strip()
    return {
        "title": f"Electrode of {pathlib.Path(name).name} in a cell of 1 m2",
        "description": f"Homogenised from its microstructure by {by} ({', '.join(told) or 'no provenance'}). {_OF_RUN}",
        "references": f"{_REFERENCES['Chen2020']}; Nyman et al. 2008, doi:10.1016/j.electacta.2008.04.023",
        "user_defined": {f"Mesode positive electrode {what}": float(value) for what, value in found.items()},
    }


def _of_named(name) -> dict:
    """The header of the file that the cell was read from, or the source of the built-in set."""
    if name in NOMINAL_Ah:
        return {"title": name, "references": _REFERENCES[name]}
    source = read_bpx(name)
    return {
        "title": source.title,
        "description": source.description,
        "references": source.references,
        "cell_fields": source.cell,
    }
