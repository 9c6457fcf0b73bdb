"""The chain, from recipe to figures of merit: it reads top to bottom like a factory.

Each stage is a pure function of frozen values, compiled by itself; their composition is differentiated as one function.
Held fixed in a derivative: the number of particles, their unit draws, the settled reference packing, the candidate
pairs and bonds, the shape of the grid, the percolating voxels.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from microstructure import measure, rasterise, sizes
from microstructure.binder import Coating, coat
from microstructure.grid import box_grid
from microstructure.packing import Packing
from microstructure.recipe import Recipe
from microstructure.units import Wh, hour, litre
from microstructure.voxel import Phases
from solver import handover
from solver.cell import protocol
from solver.cell.cell import Cell, theoretical_capacity
from solver.cell.making import Making
from solver.cell.performance import Densities, stack
from solver.cell.protocol import DFN
from solver.handover import CellDesign, PhaseProperties, Properties
from solver.numerics.solution import Solution, raise_unless_successful
from solver.particles.bond import Binder
from solver.particles.contact import ContactLaw
from solver.particles.friction import Friction
from solver.particles.neighbours import Pairs, candidate_pairs
from solver.process.calender import Calendered, Calendering, calender
from solver.process.drying import BinderProfile, Drying, dry_film, wet_film
from solver.process.nip import Nip
from solver.process.settle import dry_packing, settled_film
from solver.process.target import LineLoad, PlatePressure, press_to
from solver.transport import effective
from solver.transport.conduct import Conduction, for_gradients


class Methods(eqx.Module):
    """How each stage is computed; every field has a working default."""

    contact: ContactLaw = eqx.field(default_factory=ContactLaw)
    bonds: Binder = eqx.field(default_factory=Binder)
    drying: Drying = eqx.field(default_factory=Drying)
    calendering: Calendering = eqx.field(default_factory=Calendering)
    friction: Friction | None = None
    nip: Nip = eqx.field(default_factory=Nip)
    coating: Coating = eqx.field(default_factory=Coating)
    made_of: PhaseProperties = eqx.field(default_factory=PhaseProperties)
    conduction: Conduction = eqx.field(default_factory=for_gradients)
    design: CellDesign = eqx.field(default_factory=CellDesign)
    densities: Densities = eqx.field(default_factory=Densities)
    making: Making = eqx.field(default_factory=Making)
    cell: DFN = eqx.field(default_factory=DFN)


class Reference(eqx.Module):
    """What a derivative holds fixed: one sample of the electrode at a reference recipe.

    **Arguments:** `draws`, unit draws of the sizes; `settled`, the packing of the dried film; `pairs`, which particles
    can meet; `patches`, which corners they can reach; `shape`, of the grid, static.
    """

    draws: Float[Array, " n"]
    settled: Packing
    pairs: Pairs
    patches: rasterise.Patches
    shape: tuple[int, int, int] = eqx.field(static=True)


class Film(eqx.Module):
    """The electrode as particles: `dried`, a packing; `content`, the binder profile; `pressed`, the calendered film."""

    dried: Packing
    content: BinderProfile
    pressed: Calendered


class Masks(eqx.Module):
    """The voxels that connect collector and separator, for electrolyte and for electrons."""

    electrolyte: Bool[Array, "nx ny nz"]
    electrons: Bool[Array, "nx ny nz"]


def prepare(
    recipe: Recipe, key, particles: int, shape: tuple[int, int, int], methods: Methods | None = None
) -> Reference:
    """Draws, packs and settles the particles of a recipe: once for each seed, outside `jit`, without derivative."""
    methods = methods or Methods()
    draw, place = jax.random.split(key)
    draws = sizes.unit_draws(draw, particles)
    radii = sizes.sample(recipe.size, draws)
    film = settled_film(place, radii, recipe.box(radii))
    settled = raise_unless_successful(film, "The packing of the dried film")
    return reference(recipe, draws, settled, shape, methods)


def reference(recipe: Recipe, draws, settled: Packing, shape: tuple[int, int, int], methods: Methods) -> Reference:
    """What goes with a settled packing: the pairs that can meet and the corners that each particle can reach."""
    pairs = candidate_pairs(settled, skin=1.0, spare=0.5, per_particle=40)
    radii, box = np.asarray(settled.radii), np.asarray(settled.box)
    pressed = np.asarray([min(box[0], float(recipe.gap)), *box[1:]])
    band = float(methods.coating.reach) * float(np.mean(radii))
    # The largest radii that any seed can draw: then its patches do not depend on the seed, nor does compiled code.
    bounds = sizes.sample(recipe.size, (jnp.arange(float(radii.size)) + 0.98) / radii.size)
    spacing = pressed / (np.asarray(shape) * methods.coating.refine)
    patches = rasterise.patches(radii, spacing, band, bounds=np.asarray(bounds))
    return Reference(draws, settled, pairs, patches, shape)


@eqx.filter_jit
def dry(recipe: Recipe, reference: Reference) -> Solution:
    """The dried film of a recipe: the settled packing at this recipe's sizes and loading, contacts parted again."""
    radii = sizes.sample(recipe.size, reference.draws)
    return dry_packing(reference.settled, radii, recipe.box(radii), reference.pairs)


@eqx.filter_jit
def migrate(recipe: Recipe, methods: Methods) -> Solution:
    """The binder profile that drying leaves."""
    wet = wet_film(
        recipe.areal_loading,
        recipe.mass_fractions,
        recipe.densities,
        jnp.asarray([0.0, 0.0, 1.0]),  # the binder is dissolved
        recipe.solids_content,
        recipe.solvent_density,
        recipe.dried_porosity,
    )
    how = methods.drying
    how = eqx.tree_at(lambda d: (d.evaporation, d.solvent_density), how, (recipe.evaporation, recipe.solvent_density))
    return dry_film(wet, how)


@eqx.filter_jit
def press(recipe: Recipe, dried: Packing, pairs: Pairs, methods: Methods) -> Solution:
    """The film compressed to the gap, or to the line load or pressure of the recipe, and released."""
    given = (methods.contact, methods.bonds, methods.calendering, methods.friction)
    goal = goal_of(recipe, methods)
    return (
        calender(dried, pairs, recipe.gap, *given) if goal is None else press_to(dried, pairs, goal, recipe.gap, *given)
    )


def goal_of(recipe: Recipe, methods: Methods) -> LineLoad | PlatePressure | None:
    """What the film is pressed to in place of the gap, if anything."""
    if recipe.line_load is not None:
        return LineLoad(recipe.line_load, methods.nip)
    return None if recipe.plate_pressure is None else PlatePressure(recipe.plate_pressure)


def make(recipe: Recipe, reference: Reference, methods: Methods) -> Film:
    """Dries and calenders: recipe to particles."""
    return finish(recipe, _checked(dry(recipe, reference), "The dried film"), reference, methods)


def finish(recipe: Recipe, dried: Packing, reference: Reference, methods: Methods) -> Film:
    """[`make`][] from the dried packing on. That of the reference recipe itself is the settled one."""
    content = _checked(migrate(recipe, methods), "Drying")
    pressed = _checked(press(recipe, dried, reference.pairs, methods), "Calendering")
    return Film(dried, content, pressed)


def _checked(solution: Solution, what: str):
    """The value, or an error where the outcome can be looked at; within a derivative the value as it is."""
    if isinstance(jax.tree.leaves(solution.result)[0], jax.core.Tracer):
        return solution.value
    return raise_unless_successful(solution, what)


@eqx.filter_jit
def fill(recipe: Recipe, packing: Packing, content: BinderProfile, reference: Reference, methods: Methods) -> Phases:
    """Voxels of a packing with its carbon-binder, volumes exact."""
    grid = box_grid(reference.shape, packing.box)
    fine = grid.refined(methods.coating.refine)
    mean = jnp.mean(packing.radii)
    spheres = rasterise.union(
        packing.positions,
        packing.radii,
        fine,
        reference.patches,
        sharp=methods.coating.sharpness * jnp.max(fine.spacing),
        blunt=methods.coating.width * mean,
        band=methods.coating.reach * mean,
    )
    solid = recipe.solid_thickness / packing.box[0]
    profile = content.at(jnp.linspace(0.0, 1.0, fine.shape[0] + 1))
    nanoporous = (solid[1] + solid[2]) / (1 - methods.made_of.nanoporosity)
    return coat(spheres, grid, profile, solid[0], nanoporous, methods.coating, mean)


def masks(phases: Phases) -> Masks:
    """Percolation of a structure through its thickness, outside `jit`."""
    liquid = tuple(phases.index(name) for name in ("binder", "pore"))
    solid = tuple(phases.index(name) for name in ("active", "binder"))
    through = [measure.percolating(phases, members, 0) for members in (liquid, solid)]
    return Masks(*map(jnp.asarray, through))


def transport(phases: Phases, connected: Masks, methods: Methods) -> Properties:
    """Effective transport of electrolyte and electrons through the thickness, and what else the cell needs."""
    (diffusivity, _), (conductivity, _) = through(phases, connected, methods)
    return describe(phases, methods.made_of, diffusivity, conductivity)


def through(phases: Phases, connected: Masks, methods: Methods):
    """(Effective value, field) of electrolyte and of electrons through the thickness."""
    made_of, conduction = methods.made_of, methods.conduction
    liquid = effective.effective_conductivity(
        phases, made_of.for_electrolyte(phases), 0, connected.electrolyte, conduction
    )
    solid = effective.effective_conductivity(phases, made_of.for_electrons(phases), 0, connected.electrons, conduction)
    return _checked(liquid, "Transport in the electrolyte"), _checked(solid, "Transport of electrons")


describe = eqx.filter_jit(handover.properties)


@eqx.filter_jit
def assemble(found: Properties, recipe: Recipe, methods: Methods) -> Cell:
    """The cell of an electrode."""
    return handover.full_cell(handover.electrode(found), recipe.salt, methods.design)


@eqx.filter_jit
def made_by(recipe: Recipe, methods: Methods) -> Methods:
    """`methods` with the positive slurry of a recipe: its solids content, and carbon and binder as it mixes them."""
    _, carbon, binder = recipe.mass_fractions
    return eqx.tree_at(
        lambda m: (m.making.positive.carbon_share, m.making.positive.solids_content),
        methods,
        (carbon / (carbon + binder), recipe.solids_content),
    )


@eqx.filter_jit
def discharge(cell: Cell, c_rate, methods: Methods) -> Solution:
    """A discharge at a C-rate of the design's theoretical capacity."""
    return protocol.discharge(cell, c_rate * theoretical_capacity(cell.positive) / hour, methods.cell)


def electrode(recipe: Recipe, reference: Reference, connected: Masks | None, methods: Methods) -> Properties:
    """Recipe to the electrode that the cell sees. Without `connected` it is found on the way, outside derivatives."""
    film = make(recipe, reference, methods)
    phases = fill(recipe, film.pressed.packing, film.content, reference, methods)
    return transport(phases, masks(phases) if connected is None else connected, methods)


def energy_density(
    recipe: Recipe, reference: Reference, connected: Masks | None = None, methods: Methods | None = None, c_rate=2.0
) -> Array:
    """Energy of the stack at a C-rate over its volume, in Wh/L: the end of the chain, and where the gradient starts.

    **Arguments:** `recipe`, the variables; `reference`, from [`prepare`][]; `connected`, from [`connections`][], needed
    in derivatives; `methods`; `c_rate`, 1/h.
    """
    methods = methods or Methods()
    found = electrode(recipe, reference, connected, methods)
    cell = assemble(found, recipe, methods)
    run = _checked(discharge(cell, jnp.asarray(c_rate, float), methods), f"The discharge at {c_rate:g}C")
    return _energy_density(cell, run.energy, methods)


@eqx.filter_jit
def _energy_density(cell: Cell, energy: Array, methods: Methods) -> Array:
    return stack(cell, methods.densities, methods.making.casing).energy_density(energy) * litre / Wh


def connections(recipe: Recipe, reference: Reference, methods: Methods | None = None) -> Masks:
    """The percolating voxels of a recipe, which derivatives around it hold fixed."""
    methods = methods or Methods()
    film = make(recipe, reference, methods)
    return masks(fill(recipe, film.pressed.packing, film.content, reference, methods))
