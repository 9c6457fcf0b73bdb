"""The design of a recipe through the whole chain: a figure of merit of the cell, averaged over packing seeds."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from inverse.objective import Constraint, EnergyDensity, Objective
from inverse.problem import Impossible, Problem
from inverse.space import Space
from microstructure import sizes
from microstructure.rasterise import Patches
from microstructure.recipe import Recipe
from microstructure.units import mAh_cm2, um
from solver import pipeline
from solver.cell.cell import theoretical_capacity
from solver.pipeline import Masks, Methods, Properties, Reference

LOWEST_POROSITY = 0.12  # below it the spheres overlap more than contact laws are made for
COMPRESSION = 0.6  # gap over dried thickness, down to which the pairs that may touch are listed
WIDTH = 4.25  # of the sample, in largest radii: what the search for pairs needs, and a hundredth
GROUPS, GROWTH = 8, 1.02  # groups of the patches; how much a patch is larger than the largest design of the box needs


class Sample(eqx.Module):
    """One packing of a design and what a derivative around it holds fixed; `connected` is found each time if `None`."""

    reference: Reference
    connected: Masks | None


class ChainProblem(Problem):
    """A figure of merit at the end of the chain, over the variables of a recipe.

    **Arguments:** `space`, whose base is a `Recipe`; `objective`; `methods`; `particles` and `shape`, of each sample;
    `constraints`, figures to hold within bounds.
    """

    space: Space
    objective: Objective
    methods: Methods
    constraints: tuple[Constraint, ...]
    particles: int = eqx.field(static=True)
    shape: tuple[int, int, int] = eqx.field(static=True)
    halves: tuple[tuple[int, int, int], ...] = eqx.field(static=True)

    def __init__(
        self, space: Space, objective=None, methods=None, particles: int = 240, shape=(32, 24, 24), constraints=()
    ):
        self.space, self.constraints = space, tuple(constraints)
        self.objective = EnergyDensity() if objective is None else objective
        self.methods = Methods() if methods is None else methods
        self.particles, self.shape = particles, tuple(shape)
        coating = self.methods.coating
        cells = tuple(coating.refine * n for n in self.shape)
        self.halves = largest_patches(space, particles, cells, float(coating.reach))

    def prepare(self, x: Float[Array, " n"], seed: int) -> Sample:
        """Packs and settles the particles at this design: the same key gives common random numbers."""
        return self.sample(self.space(x), seed)

    def sample(self, recipe: Recipe, seed: int) -> Sample:
        """The sample of a recipe."""
        reference = self.reference(recipe, seed)
        return Sample(reference, pipeline.connections(recipe, reference, self.methods))

    def reference(self, recipe: Recipe, seed: int) -> Reference:
        """The settled packing of a recipe, its patches those of every design of the space."""
        require_possible(recipe, self.particles)
        try:
            reference = pipeline.prepare(recipe, jax.random.key(seed), self.particles, self.shape, self.methods)
        except ValueError as error:  # the pair list is too small for so dense a packing
            raise Impossible(str(error)) from error
        patches = Patches(reference.patches.members, self.halves)
        return eqx.tree_at(lambda r: r.patches, reference, patches, is_leaf=lambda v: isinstance(v, Patches))

    def value(self, x: Float[Array, " n"], sample: Sample) -> Array:
        """What is maximised, at `x`, particles and percolating voxels of the sample held."""
        return self._merit(*self._cell(self.space(x), sample)[:2])

    def value_and_grad(self, x: Float[Array, " n"], sample: Sample) -> tuple[Array, Float[Array, " n"]]:
        """What is maximised and its derivative in the unit box."""
        return jax.value_and_grad(lambda u: self.value(u, sample))(x)

    def of_recipe(self, recipe: Recipe, sample: Sample) -> Array:
        """The figure of a recipe near the one of the sample."""
        return self.objective(*self._cell(recipe, sample)[:2])

    def figures(self, x: Float[Array, " n"], sample: Sample, named: dict[str, Objective]) -> dict[str, Array]:
        """Figures by name at `x`, the sample held."""
        cell, methods, _ = self._cell(self.space(x), sample)
        return {name: figure(cell, methods) for name, figure in named.items()}

    def _cell(self, recipe: Recipe, sample: Sample):
        """The cell, the methods with the slurry of the recipe, and the electrode."""
        found = self._properties(recipe, sample)
        return pipeline.assemble(found, recipe, self.methods), pipeline.made_by(recipe, self.methods), found

    def _merit(self, cell, methods, figure=None) -> Array:
        """The figure, so that more is better, over 1 plus the penalties, or times it where less is better.

        Either way a percent of the figure weighs as much as a hundredth of penalty; figures are positive.
        """
        figure = self.objective(cell, methods) if figure is None else figure
        sense, taken = self.objective.sense, sum(each.penalty(each.figure(cell, methods)) for each in self.constraints)
        return sense * figure * (1.0 + taken) ** (-sense)

    def measure(self, x: Float[Array, " n"], seed: int) -> dict[str, float]:
        """The figure as `objective`, what is maximised as `merit`, the figures of the constraints, porosity,
        thickness, areal capacity, tortuosity factor and surface area of the design.
        """
        recipe = self.space(x)
        cell, methods, found = self._cell(recipe, Sample(self.reference(recipe, seed), None))
        figure = self.objective(cell, methods)
        return {
            "objective": float(figure),
            "merit": float(self._merit(cell, methods, figure)),
            **{each.name: float(each.figure(cell, methods)) for each in self.constraints},
            "porosity": float(found.porosity),
            "thickness_um": float(found.thickness) / um,
            "areal_capacity_mAh_cm2": float(theoretical_capacity(cell.positive)) / mAh_cm2,
            "tortuosity_factor_x": float(found.porosity / found.electrolyte_transport),
            "specific_surface_area_per_m": float(found.specific_area),
        }

    def _properties(self, recipe: Recipe, sample: Sample) -> Properties:
        return pipeline.electrode(recipe, sample.reference, sample.connected, self.methods)


def largest_patches(space: Space, particles: int, shape, reach: float) -> tuple[tuple[int, int, int], ...]:
    """Half widths of the patches that fit every seed and every design of the box, so that all share compiled code."""
    shape = np.asarray(shape)
    last = tuple(int(part[-1]) for part in np.array_split(np.arange(particles), GROUPS))
    corners = itertools.product((0.0, 1.0), repeat=len(space.variables))
    needed = [np.asarray(_reach(space, jnp.asarray(corner), last, reach)) * shape for corner in corners]
    return tuple(tuple(int(np.ceil(GROWTH * r)) + 1 for r in row) for row in np.max(needed, axis=0))


@eqx.filter_jit
def _reach(space: Space, x, last: tuple[int, ...], reach: float) -> Array:
    """How far the largest sphere of each group reaches, as a share of each side of the pressed box."""
    recipe, particles = space(x), last[-1] + 1
    radii = sizes.sample(recipe.size, (jnp.arange(float(particles)) + 0.5) / particles)
    largest = sizes.sample(recipe.size, jnp.asarray([(i + 0.98) / particles for i in last]))  # of any stratified draw
    box = recipe.box(radii)
    box = box.at[0].set(jnp.minimum(box[0], recipe.gap))
    return (largest[:, None] + reach * jnp.mean(radii)) / box


def require_possible(recipe: Recipe, particles: int) -> None:
    """[`Impossible`][] unless the gap presses the dried film and leaves pores, and any draw of particles has room."""
    solid, dried, gap, side, largest = (float(v) for v in _sizes(recipe, particles))
    low = max(solid / (1 - LOWEST_POROSITY), COMPRESSION * dried)
    if not low <= gap < dried:
        raise Impossible(
            f"A gap of {gap / um:.1f} um cannot be made at this loading: the film is {dried / um:.1f} um thick when "
            f"dried, and this packing can be pressed to {low / um:.1f} um."
        )
    needed = WIDTH * largest
    if side < needed:
        raise Impossible(
            f"The sample is {side / um:.1f} um wide at this loading and radius, but must be {needed / um:.1f} um for "
            "its largest particles. Use more or smaller particles."
        )


@eqx.filter_jit
def _sizes(recipe: Recipe, particles: int) -> tuple[Array, ...]:
    radii = sizes.sample(recipe.size, (jnp.arange(float(particles)) + 0.5) / particles)
    largest = sizes.sample(recipe.size, jnp.asarray([1 - 0.02 / particles]))[0]
    gap = recipe.gap
    return jnp.sum(recipe.solid_thickness), recipe.dried_thickness, gap, recipe.box(radii)[1], largest
