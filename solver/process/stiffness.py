"""How stiff a film is against small strains: through its thickness and in its plane, at the equilibrium it is in."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from solver.numerics.linear import linear_solve
from solver.numerics.newton_krylov import general_solve
from solver.numerics.solution import Result, Solution
from solver.particles import bond, contact
from solver.particles.neighbours import relative_positions

from . import frictionless, rough, tangent
from .calender import Press
from .film import History, Stage, System, overlaps_of, strains
from .texture import still


class Stiffness(eqx.Module):
    """The elastic stiffness of a film against the normal strains along the thickness and the two lateral axes.

    **Arguments:** `matrix`, (3, 3), Pa: stress over strain with the other two strains held at zero.
    """

    matrix: Float[Array, "3 3"]

    @property
    def through_plane(self) -> Float[Array, ""]:
        """Stress on the plate over the strain of the thickness, Pa, the film held laterally by its collector."""
        return self.matrix[0, 0]

    @property
    def in_plane(self) -> Float[Array, ""]:
        """Stress over strain along one lateral axis, Pa, the other held by the collector and the thickness free: as the
        layer acts when the electrode is bent. Mean of both axes."""
        return jnp.mean(jnp.diagonal(self._thickness_free()))

    @property
    def in_plane_poisson(self) -> Float[Array, ""]:
        """Lateral stress across over that along, in the same test; mean of both axes."""
        free = self._thickness_free()
        return 0.5 * (free[0, 1] / free[0, 0] + free[1, 0] / free[1, 1])

    def _thickness_free(self) -> Float[Array, "2 2"]:
        m = self.matrix
        return m[1:, 1:] - jnp.outer(m[1:, 0], m[0, 1:]) / m[0, 0]


def stiffness(press: Press, carry, *, rtol: float = 1e-8, steps: int = 3000) -> Solution:
    """The [`Stiffness`][] of a film in its calender after an increment, from the carry of [`advance`][].

    The linear response of the equilibrium to a strain: the plate moves with the film along the thickness; laterally the
    period of the box and, following it, the collector and the plate. It is elastic: contacts unload and load on their
    elastic branches, bridges do not flow, contacts with friction stick. So it is the slope of unloading, and says
    nothing about the strain at which the film yields.

    Differentiable; the derivative is that of the contact network as it is.

    **Arguments:** `rtol`, relative residual of the three linear solves; `steps`, Krylov steps allowed in each.

    **Returns:** a `Solution` with [`Stiffness`][]; `residual` and `steps`, (3,), in its stats.
    """
    state, history, *_ = carry
    system, history = press.system, _unyielding(press.system, carry)
    respond = _smooth if system.grip is None else _rough
    rows = lax.map(lambda strain: respond(state, history, system, strain, rtol, steps), jnp.eye(3))
    columns, result, stats = rows
    good = jnp.all(result == Result.successful)
    return Solution(Stiffness(columns.T * press.stress), Result.where(good, Result.successful, Result.max_steps), stats)


def _unyielding(system: System, carry) -> History:
    """The history with yield limits out of reach of the bridges."""
    _, history, *_ = carry
    far = 1e3 * jnp.maximum(system.bridge.along, system.bridge.across)
    flow = history.bridges
    return eqx.tree_at(lambda h: (h.bridges.along, h.bridges.across), history, (flow.along + far, flow.across + far))


def _elastic(branch: contact.Branch) -> contact.Branch:
    """The branch without its plastic end: nothing overlaps by ten mean radii."""
    return eqx.tree_at(lambda b: b.reach, branch, branch.reach + 10.0)


def _strained(system: System, relative, strain) -> System:
    """The film with its lateral period strained and everything that moves along taken as fixed: only what goes from
    particle to particle changes."""
    lateral = relative[:, 1:] * strain[1:] / system.lateral
    return eqx.tree_at(lambda s: s.pairs.image, system, system.pairs.image + lateral)


def _stress(pull, push, relative, plate, system: System):
    """(3,) nominal normal stresses, positive in tension, from the forces (P, 3) on the second particles of pairs and
    those (N,) on the plate: the derivative of the energy with respect to the strains, over the volume."""
    area = jnp.prod(system.lateral)
    lateral = -jnp.sum(relative[:, 1:] * pull[:, 1:], axis=0) / (plate * area)
    return jnp.concatenate([-jnp.sum(push)[None] / area, lateral])


def _smooth(state, history: History, system: System, strain, rtol, steps):
    """The change of stress with a strain of a film without friction."""
    positions, plate = state
    relative = relative_positions(positions, system.lateral, system.pairs)
    branch = _elastic(contact.branch(history.largest, system.law))
    number, count = relative.shape[0], system.radii.shape[0]

    def args(share):
        stage = Stage(jnp.asarray(True), plate * (1 + share * strain[0]), jnp.zeros_like(plate))
        return _strained(system, relative, share * strain), branch, history.bridges, stage

    def stress(state, share):
        changed, _, flow, stage = args(share)
        vectors, drawn, overlaps = strains(state, changed, stage)
        push = contact.force(overlaps, branch)
        normal = vectors[:number] / jnp.sqrt(jnp.sum(vectors[:number] ** 2, axis=1))[:, None]
        pull = push[:number, None] * normal - bond.forces(drawn, flow, changed.bridge)[:number]
        return _stress(pull, push[number + count :], relative, plate, system)

    zero, one = jnp.asarray(0.0), jnp.asarray(1.0)
    _, rhs = jax.jvp(lambda s: jax.grad(frictionless.energy)(state, args(s)), (zero,), (one,))
    hessian, precondition = frictionless.model(state, args(zero), jnp.asarray(False))
    solved = linear_solve(hessian, rhs, preconditioner=precondition, rtol=rtol, max_steps=steps)
    return _along(stress, state, solved)


def _rough(state, history: History, system: System, strain, rtol, steps):
    """The change of stress with a strain of a film with friction."""
    system = _sticking(system)
    positions, plate = state
    relative = relative_positions(positions, system.lateral, system.pairs)
    number, count = relative.shape[0], system.radii.shape[0]
    every = jnp.arange(number)
    normal = relative / jnp.sqrt(jnp.sum(relative**2, axis=1))[:, None]
    lateral = jnp.concatenate([jnp.zeros_like(strain[:1]), strain[1:]])
    # An increment slips between its own start and end, which are both strained: what the strain itself slips is added.
    carried = relative * lateral
    carried = carried - jnp.sum(carried * normal, axis=1)[:, None] * normal
    carried = jnp.concatenate([carried, jnp.zeros((2 * count, 3))])

    def args(share):
        slipped = eqx.tree_at(lambda h: h.slip, history, history.slip + share * carried)
        at, (changed, given, stage) = still(state, slipped, _strained(system, relative, share * strain))
        stage = Stage(stage.held, plate * (1 + share * strain[0]), stage.pressure)
        return at, (changed, eqx.tree_at(lambda g: g.branch, given, _elastic(given.branch)), stage)

    def stress(at, share):
        _, given = args(share)
        changed, fixed, stage = given
        columns = rough.pair_columns(at, changed, every)
        pull = rough.between(columns, rough.given_pairs(changed, fixed, every))[:, :3]
        pull = pull - bond.forces(rough.elongations(at, given), fixed.history.bridges, changed.bridge)[:number]
        overlaps = overlaps_of(at[0], stage.plate, changed.pairs, changed.radii, changed.lateral)[1] - changed.conformed
        return _stress(pull, contact.force(overlaps, fixed.branch)[number + count :], relative, plate, system)

    zero, one = jnp.asarray(0.0), jnp.asarray(1.0)
    at, given = args(zero)
    _, rhs = jax.jvp(lambda s: rough.residual(at, args(s)[1]), (zero,), (one,))
    apply, solve = tangent.model(at, given, 1.0)
    solved = general_solve(apply, rhs, preconditioner=solve, rtol=rtol, max_steps=steps, window=24)
    return _along(stress, at, solved)


def _sticking(system: System) -> System:
    """The film with friction that does not slide, where there is any, and ties that hold what nothing else does."""
    mu, tie = system.grip.coefficient, jnp.minimum(system.tie, 1e-9)
    return eqx.tree_at(lambda s: (s.grip.coefficient, s.tie), system, (jnp.where(mu > 0, 1e6, mu), tie))


def _along(stress, at, solved: Solution):
    """The derivative of the stress with the strain, the film following, and how well that is known."""
    moved = jax.tree.map(jnp.negative, solved.value)
    zero, one = jnp.asarray(0.0), jnp.asarray(1.0)
    _, change = jax.jvp(stress, (at, zero), (moved, one))
    return change, solved.result, {name: solved.stats[name] for name in ("residual", "steps")}
