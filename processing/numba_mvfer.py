"""numba, if it is installed (`pip install "mvfer[fast]"`), and how loops are compiled with it.

Nothing is reordered and nothing fused unless it says so, so that a loop can give the same bits as the torch code beside it.
Where torch's own vector loops fuse (`addcmul_`, `add_` with an `alpha`), `fused` does what they do.
"""

try:
    from numba import njit, types
    from numba.extending import intrinsic
except ImportError:
    njit = None  # type: ignore[assignment]  # stands for its absence


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
