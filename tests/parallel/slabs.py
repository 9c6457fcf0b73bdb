"""Run by `test_layout` in a process of its own, which has four devices: prints what it found as JSON."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np

from microstructure.grid import Grid
from solver.numerics.flux import Faces, apply
from solver.numerics.layout import slabs
from solver.transport.conduct import Conduction, conduct, for_gradients
from solver.transport.effective import conduct_network
from solver.transport.image import effective_transport
from solver.transport.network import field_network

SHAPE = (32, 16, 16)
COLLECTIVE = re.compile(
    r"= (\(?\w+\[[^=]*) (all-gather|all-to-all|all-reduce|reduce-scatter|collective-permute)(-start)?\("
)


def image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(SHAPE) > 0.3


def network(k, axis: int = 0):
    return field_network(jnp.asarray(k), Grid(SHAPE, jnp.ones(3)), axis)


def collectives(function, *arguments) -> list[tuple[str, int]]:
    """Each collective of the compiled function, and the elements that it moves."""
    text = jax.jit(function).lower(*arguments).compile().as_text()
    found = []
    for shapes, name, _ in COLLECTIVE.findall(text):
        sizes = [[int(n) for n in dims.split(",") if n] for dims in re.findall(r"\w+\[([\d,]*)\]", shapes)]
        found.append((name, max(int(np.prod(size)) for size in sizes)))
    return found


def stencil(cut):
    """One application of the network, without plates, whose slices are those of the single device too."""
    faces = network(image()).faces
    faces = Faces(faces.x, faces.y, faces.z)
    field = jnp.asarray(np.random.default_rng(1).random(SHAPE), jnp.float32)
    placed = cut.place((faces, field))
    difference = jnp.max(jnp.abs(jax.jit(apply)(*placed) - jax.jit(apply)(faces, field)))
    return {"collectives": collectives(apply, *placed), "difference": float(difference)}


def solve(cut, axis: int):
    alone = network(image(), axis)
    method, placed = Conduction(slabs=cut), cut.place(alone)
    one, many = conduct_network(alone), conduct_network(placed, method)
    return {
        "values": [float(s.value[0]) for s in (one, many)],
        "steps": [int(s.stats["steps"]) for s in (one, many)],
        "slabs": len({s.device for s in many.value[1].addressable_shards if s.data.shape[cut.axis] == 8}),
        "collectives": collectives(lambda n: conduct(n, method), placed),
    }


def gradient(cut):
    k = np.random.default_rng(2).uniform(0.5, 1.0, SHAPE).astype(np.float32)
    method = for_gradients()
    parallel = Conduction(method.energy_rtol, method.rtol, slabs=cut)
    one = jax.grad(lambda k: conduct(network(k), method).value[0])(jnp.asarray(k))
    many = jax.grad(lambda k: conduct(network(k), parallel).value[0])(cut.place(jnp.asarray(k)))
    return float(jnp.linalg.norm(one - np.asarray(many)) / jnp.linalg.norm(one))


def images():
    """An image, plain and with a large contrast, on one device and on four."""
    out = {}
    for name, k in (("plain", image()), ("contrast", np.where(image(), 1, 1e-3).astype(np.float32))):
        found = [effective_transport(k, axes=(0, 1), devices=d, fields=True) for d in (None, jax.devices())]
        out[name] = [[e.conductivity for e in f] for f in found]
    return out


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    cut = slabs(SHAPE, jax.devices())
    found = {"axis": cut.axis, "devices": jax.device_count(), "stencil": stencil(cut), "gradient": gradient(cut)}
    found |= {"solves": [solve(cut, axis) for axis in (0, 1)], "images": images()}
    print(json.dumps(found))
