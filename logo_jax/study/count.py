"""Multiply-adds of a computation, counted over its jaxpr.

Convention, that of the papers' tables: one multiply-add is one; only convolutions and matrix
products count; multiply-adds on the padding of a convolution count too, as hardware and the usual
counters have them. The zeros that the gradient of a strided convolution by its input sets between
entries do not, so that it counts as the convolution itself. The compiler's own estimate
(`cost_analysis`) counts differently: two per multiply-add, none on padding, and the body of a loop
once whatever its length.

A matrix product with batch axes multiplies activations by activations: the two products of
attention. The usual counters leave those out, so they are counted apart.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

from logo_jax.common.errors import UserError


@dataclass(frozen=True)
class MultiplyAdds:
    """Counts by kind; they add up and can be scaled."""

    convolutions: int = 0
    dense: int = 0  # matrix products of activations by parameters
    products: int = 0  # of activations by activations, as in attention

    def __add__(self, other: "MultiplyAdds") -> "MultiplyAdds":
        return MultiplyAdds(
            self.convolutions + other.convolutions,
            self.dense + other.dense,
            self.products + other.products,
        )

    def __mul__(self, times: int) -> "MultiplyAdds":
        return MultiplyAdds(self.convolutions * times, self.dense * times, self.products * times)

    def __floordiv__(self, parts: int) -> "MultiplyAdds":
        return MultiplyAdds(self.convolutions // parts, self.dense // parts, self.products // parts)


def multiply_adds(fn: Callable[..., Any], *args: Any, products: bool = False) -> int:
    """Count the multiply-adds of `fn(*args)`.

    Args:
        fn: any function that JAX can trace; a gradient counts its backward pass too.
        args: arrays, `jax.ShapeDtypeStruct`s or trees of them; only shapes are read.
        products: count the products of attention too; the papers' tables leave them out.

    Raises:
        UserError: see `breakdown`.
    """
    counts = breakdown(fn, *args)
    return counts.convolutions + counts.dense + (counts.products if products else 0)


def breakdown(fn: Callable[..., Any], *args: Any) -> MultiplyAdds:
    """Count the multiply-adds of `fn(*args)` by kind; arguments as in `multiply_adds`.

    Raises:
        UserError: a while loop or a kernel holds work whose amount the jaxpr does not tell.
    """
    return _count(jax.make_jaxpr(fn)(*args).jaxpr)


def largest_product(jaxpr: Jaxpr) -> int:
    """Bytes of the largest result of a matrix product; the body of a loop counts once."""
    sizes = [0]
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            out: Any = equation.outvars[0].aval
            sizes.append(prod(out.shape) * out.dtype.itemsize)
        sizes += [largest_product(inner) for inner in _jaxprs(equation.params)]
    return max(sizes)


def _count(jaxpr: Jaxpr) -> MultiplyAdds:
    return sum((_count_equation(equation) for equation in jaxpr.eqns), MultiplyAdds())


def _count_equation(equation: JaxprEqn) -> MultiplyAdds:
    name = equation.primitive.name
    if name == "dot_general":
        return _dot_general(equation)
    if name == "conv_general_dilated":
        return _convolution(equation)
    inner = [_count(jaxpr) for jaxpr in _jaxprs(equation.params)]
    if name == "scan":
        return inner[0] * equation.params["length"]
    if name == "cond":
        # One branch runs; the costliest stands for it. Of equal ones the last does: the plain form,
        # where branches are forms for platforms.
        return max(reversed(inner), key=lambda counts: sum(vars(counts).values()))
    total = sum(inner, MultiplyAdds())
    if name in ("while", "pallas_call") and total != MultiplyAdds():
        raise UserError(
            f"Cannot count multiply-adds inside a {name}: the number of turns is not in the jaxpr; "
            "count the plain form of this computation."
        )
    return total


def _dot_general(equation: JaxprEqn) -> MultiplyAdds:
    (contracted, _), (batch, _) = equation.params["dimension_numbers"]
    left = _shape(equation.invars[0])
    count = prod(_shape(equation.outvars[0])) * prod(left[axis] for axis in contracted)
    return MultiplyAdds(products=count) if batch else MultiplyAdds(dense=count)


def _convolution(equation: JaxprEqn) -> MultiplyAdds:
    """Every output entry takes one multiply-add per kernel position and channel of its group.

    Where the input is dilated, as in the gradient of a strided convolution by its input, all but
    one of `prod(lhs_dilation)` entries are zeros: divided by it, exact but for the borders.
    """
    kernel = _shape(equation.invars[1])
    out_channels = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    count = prod(_shape(equation.outvars[0])) * prod(kernel) // out_channels
    return MultiplyAdds(convolutions=count // prod(equation.params["lhs_dilation"]))


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _jaxprs(params: dict[str, Any]) -> Iterator[Jaxpr]:
    """The jaxprs that an equation (jit, scan, cond, remat, custom_vjp, ...) holds."""
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item
