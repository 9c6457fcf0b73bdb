"""What a calendered film does after it was let go: its binder relaxes, and the thickness recovers with time."""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from microstructure.checks import require
from solver.numerics.solution import Result, Solution
from solver.particles.bond import Bridge, Flow
from solver.particles.prony import Prony

from . import frictional, frictionless, rough
from .calender import Press
from .film import History, Stage, System, strains
from .texture import still


class Recovery(eqx.Module):
    """A film at rest under the release pressure after calendering.

    **Arguments:** `time`, (n + 1,), s, from 0, where it was let go; `thickness`, (n + 1,), m.
    """

    time: Array
    thickness: Array


class Rest(eqx.Module):
    """A film that rests: `state`, positions and plate; `history`; `drawn`, elongations of the bridges less what flowed,
    and `viscous`, their part by Prony term that has relaxed, (M, P + N, 3), both in the units of the system."""

    state: tuple
    history: History
    drawn: Array
    viscous: Array


def recover(press: Press, carry, times: Float[Array, " n"], prony: Prony | None = None) -> Solution:
    """How the thickness of a film recovers under the release pressure, from the carry of its last increment.

    Bridges relax: their force is k (e - sum alpha_i q_i), dq_i/dt = (e - q_i) / tau_i, with e the elongation less what
    flowed when the film was pressed, and q = 0 when it is let go: pressing takes a few milliseconds, in which only
    what is quicker than that relaxes, and that belongs in the modulus. For a strain that is linear within a step
    the update is exact ([`Prony`][]), and the bridge acts in it as an elastic one with a stiffness and a length at rest
    of its own; so each step is an equilibrium like those of calendering. Bridges do not flow while they rest, since
    their forces fall; contacts keep their largest overlap, and friction its limit.

    In a film that was let go the contacts still press and the binder holds them together: as it relaxes, they open, and
    the film grows thicker.

    **Arguments:** `times`, s, growing, at which a step ends; `prony`, of the binder, by default that of Lundkvist et
    al. without its term of 1 ms.

    **Returns:** a `Solution` with [`Recovery`][].

    **Source:** Lundkvist et al. 2024, Powder Technology 443, 119873: the binder's series.
    """
    prony = prony or Prony(shares=(0.0394, 0.0789), times=(1.747, 38.08))
    times = jnp.asarray(times, float)
    require("times", times, 0.0, 1e12, unit="s")
    durations = jnp.diff(times, prepend=0.0)
    require("the steps of times", durations, 1e-12, 1e12, unit="s", hint="Let the times grow.")
    state, history, *_ = carry
    drawn = _drawn(state, history, press.system) - history.bridges.plastic
    rest = Rest(state, history, drawn, prony.fresh(drawn.shape))

    def step(rest, duration):
        after, result = _rested(press, rest, duration, prony)
        return after, (after.state[1], result)

    _, (plate, results) = lax.scan(step, rest, durations)
    good = jnp.all(results == Result.successful)
    thickness = jnp.concatenate([state[1][None], plate]) * press.unit
    result = Result.where(good, Result.successful, Result.max_steps)
    return Solution(Recovery(jnp.concatenate([jnp.zeros(1), times]), thickness), result, {})


def _rested(press: Press, rest: Rest, duration, prony: Prony):
    """The film after a step of time, and how the search ended."""
    # The change of the force over k is linear in that of the elongation: fixed by two points.
    still_force, _ = prony.step(rest.viscous, rest.drawn, rest.drawn, duration)
    moved_force, _ = prony.step(rest.viscous, rest.drawn, rest.drawn + 1, duration)
    share = moved_force - still_force  # of the stiffness, the same for all bridges
    now = rest.drawn - jnp.tensordot(prony.shares, rest.viscous, axes=1)  # force over k at the start of the step
    share = jnp.mean(share)
    length = rest.drawn - (now + still_force) / share
    system, history = _relaxing(press.system, rest.history, share, length)
    law, search = (frictionless, press.method.newton) if system.grip is None else (frictional, press.method.rough)
    stage = Stage(jnp.asarray(False), rest.state[1], press.method.release)
    solution, after, _, _ = law.advance(rest.state, history, stage, system, search)
    state = (solution.value[0], solution.value[-1])
    # What flowed when the film was pressed, and the limits, are those of before.
    after = eqx.tree_at(lambda h: h.bridges, after, rest.history.bridges)
    drawn = _drawn(state, after, press.system) - after.bridges.plastic
    _, viscous = prony.step(rest.viscous, rest.drawn, drawn, duration)
    return Rest(state, after, drawn, viscous), solution.result


def _relaxing(system: System, history: History, share, length):
    """The film whose bridges have a `share` of their stiffness and rest at a further elongation of `length`."""
    bridge, flow = system.bridge, history.bridges
    parts = tuple(share * part for part in (bridge.along, bridge.across))
    bridge: Bridge = eqx.tree_at(lambda b: (b.along, b.across), bridge, parts)
    far = 1e3 * jnp.maximum(bridge.along, bridge.across)
    flow: Flow = eqx.tree_at(
        lambda f: (f.plastic, f.along, f.across), flow, (flow.plastic + length, flow.along + far, flow.across + far)
    )
    return (
        eqx.tree_at(lambda s: s.bridge, system, bridge),
        eqx.tree_at(lambda h: h.bridges, history, flow),
    )


def _drawn(state, history: History, system: System):
    """Elongations of the bridges (P + N, 3), the turning of their ends included."""
    if history.slip is None:
        stage = Stage(jnp.asarray(True), state[1], jnp.zeros_like(state[1]))
        return strains(state, system, stage)[1]
    at, given = still(state, history, system)
    return rough.elongations(at, given)
