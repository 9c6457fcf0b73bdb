"""Particles in motion: velocity Verlet with contact history, walls that are driven, and a list that is made anew."""

import equinox as eqx
import jax.numpy as jnp
from jax import lax

from microstructure.packing import Packing
from solver.particles import bonds, cells
from solver.particles.bonds import Bonds
from solver.particles.cells import Capacity, Near
from solver.particles.ends import Ends
from solver.particles.forces import Kinematics, cross, push
from solver.particles.normal import Pair
from solver.particles.scene import Grains, Scene, State, Walls


def _pairs(scene: Scene, near: Near):
    """The constants of the listed pairs, and the radii of both sides (P,)."""
    g = scene.grains
    one, two = near.first, near.second
    r1, r2, m1, m2 = g.radii[one], g.radii[two], g.mass[one], g.mass[two]
    modulus, shear = 1 / (g.compliance[one] + g.compliance[two]), 1 / (g.shear[one] + g.shear[two])
    return Pair(r1 * r2 / (r1 + r2), modulus, shear, m1 * m2 / (m1 + m2)), r1, r2


def _relative(scene: Scene, near: Near | Bonds, positions):
    """From the first to the second of each pair (3, P), m."""
    offset = jnp.concatenate([jnp.zeros_like(near.image[:1]), near.image * scene.lateral[:, None]])
    return positions[:, near.second] - positions[:, near.first] + offset


def _between(scene: Scene, near: Near, fixed, positions, velocities, spins, memory):
    """Forces (3, P) on the first of each pair, torques per arm (3, P), arms (2, P), overlaps (P,), the new memory."""
    pair, r1, r2 = fixed
    one, two = near.first, near.second
    relative = _relative(scene, near, positions)
    squared = jnp.sum(relative**2, axis=0)
    distance = jnp.sqrt(jnp.where(squared > 0, squared, 1))
    normal = relative / distance
    overlap = jnp.where(near.listed, r1 + r2 - distance, -1.0)
    arms = jnp.stack([r1, r2]) - 0.5 * overlap
    turning = arms[0] * spins[:, one] + arms[1] * spins[:, two]
    velocity = velocities[:, one] - velocities[:, two] + cross(turning, normal)
    pushed, memory = push(scene.contact, Kinematics(overlap, normal, velocity), memory, pair, scene.step)
    return pushed, cross(normal, pushed.force), arms, overlap, memory


def _summed(near: Near, pushed, twist, arms):
    """Force and torque (3, N) of contacts on each particle."""
    force = pushed.force
    total = _gathered(near.slots, jnp.concatenate([force, arms[0] * twist]), jnp.concatenate([-force, arms[1] * twist]))
    return total[:3], total[3:]


def _gathered(slots, on_first, on_second):
    """The sum over the slots (K, N) of each particle of what its pairs say (C, P) to their first and second: one
    gather, always in the same order."""
    both = jnp.concatenate([on_first, on_second, jnp.zeros((on_first.shape[0], 1))], axis=1)
    return jnp.sum(both.at[:, slots].get(mode="promise_in_bounds", wrap_negative_indices=False), axis=1)


def tied(scene: Scene, state: State):
    """Of the bonds: force (3, B) on the first of each pair, N, moments (3, B) on the first and the second, N m, what
    they remember after a step, and vectors from the first to the second (3, B), m.
    """
    one, two = scene.bonds.first, scene.bonds.second
    relative = _relative(scene, scene.bonds, state.positions)
    velocity = state.velocities[:, one] - state.velocities[:, two]
    at = Ends(relative, velocity, (state.spins[:, one], state.spins[:, two]))
    return *bonds.load(scene.bonds, at, state.strain, scene.step), relative


def _bonded(scene: Scene, state: State):
    """Force and torque (3, N) of the bonds on each particle, and what they remember after a step."""
    force, here, there, strain, _ = tied(scene, state)
    total = _gathered(scene.bonds.slots, jnp.concatenate([force, here]), jnp.concatenate([-force, there]))
    return total[:3], total[3:], strain


def _against(scene: Scene, index, walls: Walls, state, memory):
    """Forces and torques (3, N) on the particles from one body, the force on it, and the memory after a step."""
    positions, velocities, spins, time = state
    g = scene.grains
    wall = scene.walls[index]
    touch = wall.touch(walls.height[index], walls.speed[index], positions, g.radii, time)
    # The arm is the radius, overlap or not, as in the closed forms and codes that this is compared with.
    velocity = velocities - touch.velocity + cross(g.radii * spins, touch.normal)
    pair = Pair(touch.radius, 1 / (g.compliance + wall.compliance), 1 / (g.shear + wall.shear), g.mass)
    pushed, memory = push(
        scene.wall_contact, Kinematics(touch.overlap, touch.normal, velocity), memory, pair, scene.step
    )
    return pushed.force, g.radii * cross(touch.normal, pushed.force), -jnp.sum(pushed.force, axis=1), memory


def _forces(scene: Scene, fixed, state: State) -> State:
    """The state with the forces of its positions and velocities, and what the contacts remember after it."""
    moving, memory = (state.positions, state.velocities, state.spins), state.memory
    force = torque = jnp.zeros_like(state.positions)
    if not _alone(scene):
        pushed, twist, arms, _, memory = _between(scene, state.near, fixed, *moving, memory)
        force, torque = _summed(state.near, pushed, twist, arms)
    on_walls, wall_memory = [], []
    for index, past in enumerate(state.wall_memory):
        f, t, reaction, now = _against(scene, index, state.walls, (*moving, state.time), past)
        force, torque = force + f, torque + t
        on_walls.append(reaction)
        wall_memory.append(now)
    strain = state.strain
    if scene.bonds is not None:
        f, t, strain = _bonded(scene, state)
        force, torque = force + f, torque + t
    g = scene.grains
    force = force + g.mass * (scene.gravity[:, None] - scene.drag * state.velocities)
    torque = torque - scene.drag * _inertia(g) * state.spins
    if not scene.turning:
        torque = jnp.zeros_like(torque)
    walls = state.walls
    if on_walls:
        walls = Walls(walls.height, walls.speed, jnp.stack(on_walls, axis=1))
    return eqx.tree_at(
        lambda s: (s.force, s.torque, s.walls, s.memory, s.wall_memory, s.strain),
        state,
        (force, torque, walls, memory, tuple(wall_memory), strain),
        is_leaf=lambda x: x is None,
    )


def contacts(scene: Scene, state: State):
    """The forces between particles now: [`solver.particles.forces.Push`][], vectors from the first to the second
    (3, P), m, overlaps (P,), m, and constants of the listed pairs.
    """
    fixed = _pairs(scene, state.near)
    instant = eqx.tree_at(lambda s: s.step, scene, jnp.asarray(0.0))
    moving = (state.positions, state.velocities, state.spins)
    pushed, _, _, overlap, _ = _between(instant, state.near, fixed, *moving, state.memory)
    return pushed, _relative(scene, state.near, state.positions), overlap, fixed[0]


def _alone(scene: Scene) -> bool:
    """Whether there is one particle, which meets only walls: then nothing of pairs is compiled."""
    return scene.grains.radii.shape[0] == 1


def _inertia(g: Grains):
    return 0.4 * g.mass * g.radii**2


def _driven(scene: Scene, state: State) -> Walls:
    """The bodies after a step."""
    walls, area = state.walls, jnp.prod(scene.lateral)
    if not scene.walls:
        return walls
    speeds = [
        wall.drive.speed(walls.speed[i], jnp.abs(walls.force[0, i]) / area, scene.step)
        for i, wall in enumerate(scene.walls)
    ]
    speed = jnp.stack(speeds)
    return Walls(walls.height + scene.step * speed, speed, walls.force)


def _step(scene: Scene, fixed, state: State) -> State:
    """One step of velocity Verlet; the forces see the velocities of the half step."""
    half, g = 0.5 * scene.step, scene.grains
    inertia = _inertia(g)
    velocities = state.velocities + half * state.force / g.mass
    spins = state.spins + half * state.torque / inertia
    positions = state.positions + scene.step * velocities
    time = state.time + scene.step
    moved = eqx.tree_at(
        lambda s: (s.time, s.positions, s.velocities, s.spins, s.walls),
        state,
        (time, positions, velocities, spins, _driven(scene, state)),
    )
    after = _forces(scene, fixed, moved)
    return eqx.tree_at(
        lambda s: (s.velocities, s.spins),
        after,
        (after.velocities + half * after.force / g.mass, after.spins + half * after.torque / inertia),
    )


def _travelled(state: State):
    """The longest way of a particle since the list was made, squared, m2."""
    return jnp.max(jnp.sum((state.positions - state.near.anchor) ** 2, axis=0))


def relisted(scene: Scene, state: State, capacity: Capacity) -> State:
    """The state with a list made for where the particles are now; contacts keep what they remember."""
    if _alone(scene):
        return eqx.tree_at(lambda s: s.near.anchor, state, state.positions)
    near = cells.build(state.positions, scene.grains.radii, _box(scene), scene.skin, capacity)
    # An overflow stays, so that the one who looks at the end sees it.
    near = eqx.tree_at(lambda n: n.overflow, near, near.overflow | state.near.overflow)
    memory = cells.carried(state.memory, state.near, near)
    return eqx.tree_at(lambda s: (s.near, s.memory), state, (near, memory), is_leaf=lambda x: x is None)


_relisted = eqx.filter_jit(relisted)


def _fits(state: State, capacity: Capacity) -> bool:
    return state.near.slots.shape[0] == capacity.slots and state.near.first.shape[0] == capacity.pairs


@eqx.filter_jit
def advance(scene: Scene, state: State, steps, capacity: Capacity) -> State:
    """`steps` steps of velocity Verlet, the list made anew whenever a particle has gone half the skin.

    Nothing is differentiated through it: motion through many collisions is chaotic. `state.near.overflow` says that
    the capacity did not hold what came near: then the result is void, and [`run`][] does it again.
    """
    limit = (0.45 * scene.skin) ** 2  # the step that goes beyond it still uses the list: a tenth is left for it
    end = jnp.asarray(steps)

    def stretch(carry):
        done, state = carry
        state = relisted(scene, state, capacity)
        fixed = _pairs(scene, state.near)

        def step(carry):
            _, done, state = carry
            done, state = done + 1, _step(scene, fixed, state)
            return (done < end) & (_travelled(state) < limit) & ~state.near.overflow, done, state

        # At least one step, however far it goes: what blows up has to come to its end too.
        return lax.while_loop(lambda c: c[0], step, (jnp.asarray(True), done, state))[1:]

    def left(carry):
        return (carry[0] < end) & ~carry[1].near.overflow

    return lax.while_loop(left, stretch, (jnp.zeros_like(end), state))[1]


class Run(eqx.Module):
    """What [`run`][] returns: the `state`, and the `capacity` that held it, for the next call."""

    state: State
    capacity: Capacity = eqx.field(static=True)


def run(scene: Scene, state: State, steps: int, capacity: Capacity) -> Run:
    """[`advance`][], done again with more room from the same state after an overflow. Host only.

    **Raises:** `ValueError` when the particles have left every bound, as after a time step that is too long.
    """
    for _ in range(8):
        begun = state if _fits(state, capacity) else _relisted(scene, state, capacity)
        after = begun if bool(begun.near.overflow) else advance(scene, begun, steps, capacity)
        if not bool(jnp.all(jnp.isfinite(after.positions))):
            raise ValueError(
                f"Argument `step` must be shorter than {float(scene.step):.3g} s here: the motion is unstable. Use a "
                "tenth of `rayleigh_time` of the smallest particle."
            )
        if not bool(after.near.overflow):
            return Run(after, capacity)
        capacity = cells.grown(capacity, after.near)
    raise ValueError(_crowded(capacity))


def begin(scene: Scene, packing: Packing, heights, capacity: Capacity, velocities=None, spins=None) -> State:
    """Grains at the positions of a packing, at rest unless `velocities`, `spins` (N, 3) are given, no contact yet made.

    **Arguments:** `heights`, of the bodies of the scene, m.
    """
    positions = jnp.asarray(packing.positions).T
    count, bodies = positions.shape[1], len(scene.walls)
    zero = jnp.zeros((3, count))
    moving = [zero if v is None else jnp.asarray(v, float).T for v in (velocities, spins)]
    walls = Walls(jnp.broadcast_to(jnp.asarray(heights, float), (bodies,)), jnp.zeros(bodies), jnp.zeros((3, bodies)))
    near = cells.build(positions, scene.grains.radii, _box(scene), scene.skin, capacity)
    memories = scene.contact.fresh(capacity.pairs), tuple(scene.wall_contact.fresh(count) for _ in scene.walls)
    strain = None if scene.bonds is None else bonds.fresh(scene.bonds)
    state = State(jnp.asarray(0.0), positions, *moving, zero, zero, walls, near, *memories, strain)
    # The forces of this instant: no time passes for what the contacts remember.
    return _forces(eqx.tree_at(lambda s: s.step, scene, jnp.asarray(0.0)), _pairs(scene, near), state)


def start(scene: Scene, packing: Packing, heights, velocities=None, spins=None) -> Run:
    """[`begin`][] with a capacity that holds the packing. Host only."""
    capacity = cells.capacity_for(packing.positions.T, scene.grains.radii, _box(scene), scene.skin)
    for _ in range(8):
        state = eqx.filter_jit(begin)(scene, packing, heights, capacity, velocities, spins)
        if not bool(state.near.overflow):
            return refitted(scene, Run(state, capacity))
        capacity = cells.grown(capacity, state.near)
    raise ValueError(_crowded(capacity))


def refitted(scene: Scene, now: Run) -> Run:
    """The run with a list made for the skin of the `scene`, and a capacity fitted to it. Host only."""
    state, capacity = now.state, now.capacity
    for _ in range(8):
        state = _relisted(scene, now.state, capacity)
        wanted = cells.grown(capacity, state.near) if bool(state.near.overflow) else cells.fitted(capacity, state.near)
        if wanted == capacity:
            break
        capacity = wanted
    return Run(state, capacity)


def _box(scene: Scene):
    return jnp.concatenate([jnp.ones(1), scene.lateral])


def _crowded(capacity: Capacity) -> str:
    return f"The particles crowd so much that no list of {capacity.pairs} pairs holds them; check their positions."
