"""Vector instructions for Numba: sixteen float32 lanes at a time, and real rotations of several bits of an index.

Numba leaves it to LLVM to find vectors in scalar loops, which fails for butterflies over one array (it cannot prove
that the strides do not overlap). These intrinsics write the vector code down instead; LLVM splits sixteen lanes into
what the processor has (AVX-512, AVX2, NEON). A rotation by RY(b), less its factor cos(b/2), is y0 = x0 - t x1,
y1 = x1 + t x0 with t = tan(b/2) for every pair of entries that differ in one bit; tables hold t by bit.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.extending import models, overload, register_model

LANES = 16
LANE_BITS = 4
FLOAT = ir.FloatType()
VECTOR = ir.VectorType(FLOAT, LANES)
INDEX = ir.IntType(32)
INDICES = ir.VectorType(INDEX, LANES)


class Lanes(types.Type):
    """Numba's type of a vector of sixteen float32; lives in registers only."""

    def __init__(self) -> None:
        super().__init__(name="Lanes16xfloat32")


LANES_TYPE = Lanes()


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any):
        super().__init__(manager, kind, VECTOR)


def instruction(literal: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Numba's `intrinsic`, which is called with one argument less than it is defined with: hence no types."""
    return extending.intrinsic(prefer_literal=literal)


class Emitter:
    """Writes vector code through an IR builder; every method returns IR values."""

    def __init__(self, context: Any, builder: ir.IRBuilder):
        self.context, self.builder = context, builder

    def data(self, kind: types.Array, value: Any) -> Any:
        return self.context.make_array(kind)(self.context, self.builder, value).data

    def at(self, data: Any, offset: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(data, [offset]), VECTOR.as_pointer())

    def load(self, place: Any) -> Any:
        return self.builder.load(place, align=4)

    def store(self, value: Any, place: Any) -> None:
        self.builder.store(value, place, align=4)

    def splat(self, scalar: Any) -> Any:
        one = self.builder.insert_element(ir.Constant(VECTOR, ir.Undefined), scalar, INDEX(0))
        return self.builder.shuffle_vector(one, one, ir.Constant(INDICES, [0] * LANES))

    def tangent(self, table: Any, offset: Any, bit: int, inverse: bool) -> Any:
        """A splat of t of a bit; the inverse rotation has -t."""
        t = self.builder.load(self.builder.gep(table, [self.builder.add(offset, ir.Constant(offset.type, bit))]))
        return self.splat(self.builder.fneg(t) if inverse else t)

    def times(self, a: Any, b: Any) -> Any:
        return self.builder.fmul(a, b, flags=("contract",))

    def plus(self, a: Any, b: Any) -> Any:
        return self.builder.fadd(a, b, flags=("contract",))

    def minus(self, a: Any, b: Any) -> Any:
        return self.builder.fsub(a, b, flags=("contract",))

    def pair(self, x0: Any, x1: Any, t: Any) -> tuple[Any, Any]:
        """The rotation of two vectors whose entries differ in one bit."""
        return self.minus(x0, self.times(t, x1)), self.plus(x1, self.times(t, x0))

    def swap(self, x: Any, bit: int) -> Any:
        """The lanes of x in the order lane ^ 2^bit."""
        order = ir.Constant(INDICES, [lane ^ (1 << bit) for lane in range(LANES)])
        return self.builder.shuffle_vector(x, x, order)

    def signs(self, bit: int, where_zero: float) -> Any:
        """+-1 by the bit of the lane number."""
        return ir.Constant(VECTOR, [where_zero if not lane >> bit & 1 else -where_zero for lane in range(LANES)])

    def add_to(self, data: Any, row: Any, value: Any) -> None:
        """Adds a vector to row `row` of a table of sixteen columns."""
        place = self.at(data, self.builder.mul(row, ir.Constant(row.type, LANES)))
        self.store(self.plus(self.load(place), value), place)


@instruction(literal=True)
def turn(typing: Any, x: Any, offset: Any, stride: Any, table: Any, row: Any, k: Any) -> Any:
    """Rotates k bits of 2^k vectors x[offset + j * stride] (stride in floats); table row `row` is the lowest bit's."""
    count = k.literal_value

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        e = Emitter(context, builder)
        data, tangents = e.data(signature.args[0], args[0]), e.data(signature.args[3], args[3])
        places = _places(e, data, args[1], args[2], 1 << count)
        v = [e.load(place) for place in places]
        for bit in range(count):
            t = e.tangent(tangents, args[4], bit, inverse=False)
            for low, high in _pairs(count, bit):
                v[low], v[high] = e.pair(v[low], v[high], t)
        for value, place in zip(v, places, strict=True):
            e.store(value, place)
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp, table, types.intp, k), emit


@instruction()
def turn_lanes(typing: Any, value: Any, table: Any, row: Any) -> Any:
    """Rotates the four bits inside a vector."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        e = Emitter(context, builder)
        v, tangents = args[0], e.data(signature.args[1], args[1])
        for bit in range(LANE_BITS):
            t = e.tangent(tangents, args[2], bit, inverse=False)
            v = e.plus(v, e.times(e.times(t, e.signs(bit, -1.0)), e.swap(v, bit)))
        return v

    return LANES_TYPE(LANES_TYPE, table, types.intp), emit


@instruction(literal=True)
def unturn(typing: Any, x: Any, offset: Any, stride: Any, table: Any, row: Any, sums: Any, acc: Any, k: Any) -> Any:
    """Undoes `turn` on state and gradient, and adds up Im<g|X|p> and Im<g|Y|p> for each bit.

    Four vectors lie side by side in x: p's real and imaginary part, then g's. The sums belong to the state before the
    rotation is undone; bit j's go to rows acc + 2j and acc + 2j + 1 of the (rows, 16) table `sums`, lane by lane.
    """
    count = k.literal_value

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        e = Emitter(context, builder)
        data, tangents, out = (e.data(signature.args[i], args[i]) for i in (0, 3, 5))
        starts = [builder.add(args[1], ir.Constant(args[1].type, LANES * plane)) for plane in range(4)]
        places = [_places(e, data, start, args[2], 1 << count) for start in starts]
        v = [[e.load(place) for place in plane] for plane in places]
        for bit in range(count):
            t = e.tangent(tangents, args[4], bit, inverse=True)
            x = y = None
            for low, high in _pairs(count, bit):
                (p0, p1), (i0, i1), (g0, g1), (h0, h1) = [(plane[low], plane[high]) for plane in v]
                x = _signed(e, x, [(g0, i1), (g1, i0)], [(h0, p1), (h1, p0)])
                y = _signed(e, y, [(g1, p0), (h1, i0)], [(g0, p1), (h0, i1)])
                for plane in v:
                    plane[low], plane[high] = e.pair(plane[low], plane[high], t)
            for i, value in enumerate((x, y)):
                e.add_to(out, builder.add(args[6], ir.Constant(args[6].type, 2 * bit + i)), value)
        for plane, plane_places in zip(v, places, strict=True):
            for value, place in zip(plane, plane_places, strict=True):
                e.store(value, place)
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp, table, types.intp, sums, types.intp, k), emit


@instruction()
def unturn_lanes(typing: Any, x: Any, offset: Any, table: Any, row: Any, sums: Any, acc: Any) -> Any:
    """`unturn` for the four bits inside a vector; the sign of Y (+ where the bit is 1) is left out."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        e = Emitter(context, builder)
        data, tangents, out = (e.data(signature.args[i], args[i]) for i in (0, 2, 4))
        places = _places(e, data, args[1], ir.Constant(args[1].type, LANES), 4)
        v = [e.load(place) for place in places]
        for bit in range(LANE_BITS):
            signed = e.times(e.tangent(tangents, args[3], bit, inverse=True), e.signs(bit, -1.0))
            swapped = [e.swap(plane, bit) for plane in v]
            x = e.minus(e.times(v[2], swapped[1]), e.times(v[3], swapped[0]))
            y = e.plus(e.times(v[2], swapped[0]), e.times(v[3], swapped[1]))
            for i, value in enumerate((x, y)):
                e.add_to(out, builder.add(args[5], ir.Constant(args[5].type, 2 * bit + i)), value)
            v = [e.plus(a, e.times(signed, b)) for a, b in zip(v, swapped, strict=True)]
        for value, place in zip(v, places, strict=True):
            e.store(value, place)
        return context.get_dummy_value()

    return types.void(x, types.intp, table, types.intp, sums, types.intp), emit


def _places(e: Emitter, data: Any, offset: Any, stride: Any, count: int) -> list[Any]:
    """Pointers to the vectors at offset + j * stride."""
    places = []
    for j in range(count):
        places.append(e.at(data, offset))
        offset = e.builder.add(offset, stride) if j + 1 < count else offset
    return places


def _pairs(count: int, bit: int) -> list[tuple[int, int]]:
    """Numbers below 2^count that differ in one bit, the one without it first."""
    return [(j, j | 1 << bit) for j in range(1 << count) if not j >> bit & 1]


def _signed(e: Emitter, total: Any, plus: list[tuple[Any, Any]], minus: list[tuple[Any, Any]]) -> Any:
    """total + sum of products - sum of products, as a chain of multiply-adds."""
    for a, b in plus:
        total = e.times(a, b) if total is None else e.plus(total, e.times(a, b))
    for a, b in minus:
        total = e.minus(total, e.times(a, b))
    return total


@instruction()
def load(typing: Any, x: Any, offset: Any) -> Any:
    """x[offset : offset + 16]."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        e = Emitter(context, builder)
        return e.load(e.at(e.data(signature.args[0], args[0]), args[1]))

    return LANES_TYPE(x, types.intp), emit


@instruction()
def store(typing: Any, value: Any, x: Any, offset: Any) -> Any:
    """x[offset : offset + 16] = value."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        e = Emitter(context, builder)
        e.store(args[0], e.at(e.data(signature.args[1], args[1]), args[2]))
        return context.get_dummy_value()

    return types.void(LANES_TYPE, x, types.intp), emit


@instruction()
def splat(typing: Any, value: Any) -> Any:
    """A float32 in all lanes."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return Emitter(context, builder).splat(args[0])

    return LANES_TYPE(types.float32), emit


@instruction(literal=True)
def pick(
    typing: Any, x: Any, base: Any, upper: Any, lower: Any, offset: Any, whole: Any, planes: Any, plane: Any
) -> Any:
    """Entries upper ^ lower[offset + lane] of one plane of the register at x[base], for sixteen lanes.

    lower is an int32 table. The planes of a register take turns, sixteen entries each. `whole` promises that the
    sixteen entries fill one aligned block: then it is one load and one shuffle.
    """
    count, which = planes.literal_value, plane.literal_value

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        e = Emitter(context, builder)
        wide = args[1].type
        table = builder.gep(e.data(signature.args[3], args[3]), [args[4]])
        indices = builder.load(builder.bitcast(table, INDICES.as_pointer()), align=4)
        first = builder.insert_element(ir.Constant(INDICES, ir.Undefined), builder.trunc(args[2], INDEX), INDEX(0))
        places = builder.xor(indices, builder.shuffle_vector(first, first, ir.Constant(INDICES, [0] * LANES)))
        start = builder.add(args[1], ir.Constant(wide, LANES * which))
        start = builder.gep(e.data(signature.args[0], args[0]), [start])

        def block_of(place: Any) -> Any:
            return builder.mul(builder.sext(builder.and_(place, INDEX(-LANES)), wide), ir.Constant(wide, count))

        with builder.if_else(args[5]) as (block, scattered):
            with block:
                value = e.load(e.at(start, block_of(builder.extract_element(places, INDEX(0)))))
                within = builder.and_(places, ir.Constant(INDICES, [LANES - 1] * LANES))
                shuffled = ir.Constant(VECTOR, ir.Undefined)
                # LLVM recognises this form as one variable shuffle where the processor has it.
                for lane in range(LANES):
                    one = builder.extract_element(value, builder.extract_element(within, INDEX(lane)))
                    shuffled = builder.insert_element(shuffled, one, INDEX(lane))
                end_block = builder.block
            with scattered:
                gathered = ir.Constant(VECTOR, ir.Undefined)
                for lane in range(LANES):
                    place = builder.extract_element(places, INDEX(lane))
                    rest = builder.sext(builder.and_(place, INDEX(LANES - 1)), wide)
                    one = builder.load(builder.gep(start, [builder.add(block_of(place), rest)]))
                    gathered = builder.insert_element(gathered, one, INDEX(lane))
                end_scattered = builder.block
        result = builder.phi(VECTOR)
        result.add_incoming(shuffled, end_block)
        result.add_incoming(gathered, end_scattered)
        return result

    return LANES_TYPE(x, types.intp, types.intp, lower, types.intp, types.boolean, planes, plane), emit


def _operator(symbol: Any, name: str) -> None:
    @instruction()
    def apply(typing: Any, a: Any, b: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return getattr(Emitter(context, builder), name)(*args)

        return LANES_TYPE(LANES_TYPE, LANES_TYPE), emit

    @overload(symbol, strict=False)
    def overloaded(a: Any, b: Any) -> Any:
        return (lambda a, b: apply(a, b)) if isinstance(a, Lanes) and isinstance(b, Lanes) else None


_operator(operator.mul, "times")
_operator(operator.add, "plus")
_operator(operator.sub, "minus")
