"""The device mesh: one axis, `data`, over all devices of all hosts."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from logo_jax.common.errors import UserError


def data_mesh() -> Mesh:
    """Return a mesh of all devices for data parallel work, those of host 0 first.

    So host p of n holds the p-th share of the rows of a batch, as it reads them, and rows come
    back in their order. `jax.make_mesh` would follow the wiring of a TPU slice instead, and refuse
    several slices; for one sum over all devices the compiler finds the way itself.

    The axis type is Auto: under Explicit axes, the default of `jax.make_mesh`, Linen's dropout
    fails.
    """
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(devices), ("data",), axis_types=(jax.sharding.AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array: parameters, statistics, optimizer state."""
    return NamedSharding(mesh, PartitionSpec())


def split_over_devices(mesh: Mesh) -> NamedSharding:
    """Every device holds its rows of the leading axis: batches."""
    return NamedSharding(mesh, PartitionSpec("data"))


def to_devices(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Make global arrays of this host's rows of a batch."""
    return jax.make_array_from_process_local_data(split_over_devices(mesh), dict(batch))


def on_all_devices(tree: Any, mesh: Mesh) -> Any:
    """Put a copy of every array of `tree`, the same on all hosts, on every device."""
    sharding = replicated(mesh)

    def put(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            # device_put takes random keys to the devices of one host only.
            data = jax.device_put(jax.random.key_data(leaf), sharding)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        return jax.device_put(leaf, sharding)

    return jax.tree.map(put, tree)


def check_batch_size(batch_size: int, mesh: Mesh, field: str) -> None:
    """Refuse a global batch that the devices cannot share evenly.

    Raises:
        UserError: `batch_size` is not a positive multiple of the number of devices.
    """
    if batch_size < 1 or batch_size % mesh.size:
        raise UserError(
            f"{field}={batch_size} cannot be shared evenly by {mesh.size} devices: "
            f"make it a positive multiple of {mesh.size}."
        )


class AnyHost:
    """Whether something has happened on any host of the job, known alike to all of them.

    On one host the answer is what it says itself. On several it is that of the call before, so
    that none waits for the network: all of them make the same calls.
    """

    def __init__(self, mesh: Mesh):
        """Take the mesh of all devices."""
        self._mesh = mesh
        self._any = jax.jit(jnp.any, out_shardings=replicated(mesh))
        self._asked: jax.Array | None = None

    def tell(self, here: bool) -> bool:
        """Say whether it has happened on this host; return whether it had on any."""
        if jax.process_count() == 1:
            return here
        before = self._asked
        flags = {"here": np.full(jax.local_device_count(), here)}
        self._asked = self._any(to_devices(flags, self._mesh)["here"])
        return before is not None and bool(before)
