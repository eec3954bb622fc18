"""numba, if it is installed (`pip install "mvfer[fast]"`), and how loops are compiled with it.

Nothing is reordered and nothing fused unless it says so, so that a loop can give the same bits as the torch code beside it.
Where torch's own vector loops fuse (`addcmul_`, `add_` with an `alpha`), `fused` does what they do.
"""

try:
    from llvmlite import ir
    from numba import njit, types
    from numba.core import cgutils
    from numba.extending import intrinsic
except ImportError:
    njit = None  # type: ignore[assignment]  # stands for its absence

BLOCK = 32  # neighbouring sums that fit into registers


def numba_is_installed() -> bool:
    """Whether the numba backend can be used here."""
    return njit is not None


def compiled(function):
    """With machine code kept in `__pycache__`, or in the user's cache folder where that cannot be written."""
    if njit is None:
        return function
    options = {"nogil": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # neither can be written, or the package lies in a zip file: compiled in every process
        return njit(**options)(function)


if njit is not None:

    @intrinsic
    def fused(typingctx, a, b, c):
        """`a * b + c`, rounded once, of float32."""

        def code(context, builder, signature, arguments):
            return builder.fma(*arguments)

        return types.float32(types.float32, types.float32, types.float32), code

    @intrinsic
    def bits(typingctx, value):
        """The bits of a float32, as an int64; those of positive numbers sort as the numbers do."""

        def code(context, builder, signature, arguments):
            pattern = builder.bitcast(arguments[0], context.get_value_type(types.uint32))
            return builder.zext(pattern, context.get_value_type(types.int64))

        return types.int64(types.float32), code

    @intrinsic
    def add_weighted(typingctx, values, place, stride, weights, sums, at):
        """`sums[at + i]`, of `BLOCK` neighbours at once, is the sum over k of `weights[k] * values[place + k stride + i]`.

        All are float32 and flat. Products are added in order, starting from 0, and each is rounded once with its sum.
        """

        def code(context, builder, signature, arguments):
            flat, factors, target = (
                context.make_array(signature.args[n])(context, builder, arguments[n]) for n in (0, 3, 4)
            )
            block = ir.VectorType(ir.FloatType(), BLOCK)

            def at_block(array, index):
                return builder.bitcast(builder.gep(array.data, [index]), block.as_pointer())

            kind = ir.FunctionType(block, [block] * 3)
            fma = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{BLOCK}f32")
            total = cgutils.alloca_once_value(builder, ir.Constant(block, [0.0] * BLOCK))
            with cgutils.for_range(builder, cgutils.unpack_tuple(builder, factors.shape)[0]) as loop:
                index = builder.add(arguments[1], builder.mul(loop.index, arguments[2]))
                first = builder.insert_element(
                    ir.Constant(block, ir.Undefined),
                    builder.load(builder.gep(factors.data, [loop.index])),
                    ir.IntType(32)(0),
                )
                factor = builder.shuffle_vector(
                    first, first, ir.Constant(ir.VectorType(ir.IntType(32), BLOCK), [0] * BLOCK)
                )
                some = builder.load(at_block(flat, index), align=4)
                builder.store(builder.call(fma, [some, factor, builder.load(total)]), total)
            builder.store(builder.load(total), at_block(target, arguments[5]), align=4)
            return context.get_dummy_value()

        return types.none(values, types.int64, types.int64, weights, sums, types.int64), code
