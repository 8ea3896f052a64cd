"""tdBN and neurons in one Triton kernel each way: compiled.py and compiled_glif.py on a GPU.

A program has a tile of rows and channels and walks through all ticks with its states in registers.
The backward kernels compute the membranes again, leave them in the array that the gradient then
overwrites, and sum per channel within the tile; the sums of all tiles are added up in float64
afterwards. Arrays are contiguous, currents (T or 1, rows, channels).

With TRITON_INTERPRET=1 before the import they run on the CPU, slowly: that is what tests do.
"""

# For the interpreter annotations stay what they are, not strings, and nothing is indexed by None.
import triton
import triton.language as tl


@triton.jit
def _channels(values, mine):
    """A value per channel, (1, BC), for a block (BR, BC)."""
    return tl.expand_dims(tl.load(values, mask=mine, other=0.0), 0)


@triton.jit
def _truncated(x):
    return x.to(tl.int64).to(tl.float32)


@triton.jit
def _membrane(before, current, scale, keep, LEAKS: tl.constexpr, NARROW: tl.constexpr):
    """compiled._membrane: integers in float32; NARROW where their product with keep fits it."""
    if NARROW:
        leaked = _truncated(before * keep)
    else:
        leaked = _truncated(before.to(tl.float64) * keep)
        for _ in range(LEAKS - 1):
            leaked = _truncated(leaked.to(tl.float64) * keep)
    return leaked + _truncated(current * scale)


@triton.jit
def _slope(v, center, half, height, steep, decay, SHAPE: tl.constexpr):
    """compiled.slope_of."""
    distance = tl.abs(v - center)
    if SHAPE == 0:
        slope = (distance < half).to(tl.float32) * height
    elif SHAPE == 1:
        slope = tl.where(distance * steep < 1.0, (1.0 - distance * steep) * height, 0.0)
    else:
        slope = tl.exp(-distance * decay) * height
    return slope


@triton.jit
def channel_sums(x, partial, rows, channels, loops, BR: tl.constexpr, BC: tl.constexpr):
    """partial float64 (tiles, 2, channels): sums and sums of squares of x (rows, channels)."""
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    row = tl.program_id(0) * BR * loops + tl.arange(0, BR)
    total = tl.zeros((BR, BC), tl.float32).to(tl.float64)
    squares = tl.zeros((BR, BC), tl.float32).to(tl.float64)
    for _ in range(loops):
        here = tl.expand_dims(row < rows, 1) & tl.expand_dims(c < channels, 0)
        at = tl.expand_dims(row.to(tl.int64) * channels, 1) + tl.expand_dims(c, 0)
        value = tl.load(x + at, mask=here, other=0.0).to(tl.float64)
        total += value
        squares += value * value
        row += BR
    out = partial + tl.program_id(0) * 2 * channels + c
    tl.store(out, tl.sum(total, axis=0), mask=c < channels)
    tl.store(out + channels, tl.sum(squares, axis=0), mask=c < channels)


@triton.jit
def affine(grad, x, p, q, w, rows, channels, BR: tl.constexpr, BC: tl.constexpr):
    """grad <- p * grad + q * x + w, all per channel."""
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    row = tl.program_id(0) * BR + tl.arange(0, BR)
    mine = c < channels
    here = tl.expand_dims(row < rows, 1) & tl.expand_dims(mine, 0)
    at = tl.expand_dims(row.to(tl.int64) * channels, 1) + tl.expand_dims(c, 0)
    p_c = _channels(p + c, mine)
    q_c = _channels(q + c, mine)
    w_c = _channels(w + c, mine)
    value = p_c * tl.load(grad + at, mask=here, other=0.0)
    value = value + q_c * tl.load(x + at, mask=here, other=0.0) + w_c
    tl.store(grad + at, value, mask=here)


@triton.jit
def fire(x, gain, shift, r, spikes, rows, channels, plane, scale, keep, threshold,
         T: tl.constexpr, STILL: tl.constexpr, LEAKS: tl.constexpr, NARROW: tl.constexpr,
         BR: tl.constexpr, BC: tl.constexpr):
    """compiled.fire; `plane` is rows * channels."""
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    row = tl.program_id(0) * BR + tl.arange(0, BR)
    mine = c < channels
    here = tl.expand_dims(row < rows, 1) & tl.expand_dims(mine, 0)
    at = tl.expand_dims(row.to(tl.int64) * channels, 1) + tl.expand_dims(c, 0)
    gain_c = _channels(gain + c, mine)
    shift_c = _channels(shift + c, mine)
    state = tl.load(r + at, mask=here, other=0.0)
    from_x, to = at, at
    for _ in range(T):
        current = gain_c * tl.load(x + from_x, mask=here, other=0.0) + shift_c
        v = _membrane(state, current, scale, keep, LEAKS, NARROW)
        over = v > threshold
        tl.store(spikes + to, over.to(tl.float32), mask=here)
        state = tl.where(over, 0.0, v)
        to += plane
        if not STILL:
            from_x += plane
    tl.store(r + at, state, mask=here)


@triton.jit
def fire_backward(x, gain, shift, r0, above, grad_r, grad, v, partial, rows, channels, plane,
                  scale, keep, threshold, unit, fraction, center, half, height, steep, decay,
                  T: tl.constexpr, STILL: tl.constexpr, LEAKS: tl.constexpr, NARROW: tl.constexpr,
                  SHAPE: tl.constexpr, THROUGH: tl.constexpr, BARRIER: tl.constexpr,
                  BR: tl.constexpr, BC: tl.constexpr):
    """compiled.fire_backward; `v` holds T planes of membranes and may be `grad`; `partial` float32
    (tiles, 2, channels)."""
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    row = tl.program_id(0) * BR + tl.arange(0, BR)
    mine = c < channels
    here = tl.expand_dims(row < rows, 1) & tl.expand_dims(mine, 0)
    at = tl.expand_dims(row.to(tl.int64) * channels, 1) + tl.expand_dims(c, 0)
    gain_c = _channels(gain + c, mine)
    shift_c = _channels(shift + c, mine)
    state = tl.load(r0 + at, mask=here, other=0.0)
    from_x, to = at, at
    for _ in range(T):  # the membranes again
        current = gain_c * tl.load(x + from_x, mask=here, other=0.0) + shift_c
        value = _membrane(state, current, scale, keep, LEAKS, NARROW)
        tl.store(v + to, value, mask=here)
        state = tl.where(value > threshold, 0.0, value)
        to += plane
        if not STILL:
            from_x += plane
    if BARRIER:  # what is stored above is loaded below, perhaps by another thread of the tile
        tl.debug_barrier()
    carry = tl.load(grad_r + at, mask=here, other=0.0)
    plain = tl.zeros((BR, BC), tl.float32)
    times_x = tl.zeros((BR, BC), tl.float32)
    for _ in range(T):
        to -= plane
        if not STILL:
            from_x -= plane
        value = tl.load(v + to, mask=here, other=0.0)
        slope = _slope(value * unit, center, half, height, steep, decay, SHAPE)
        g = tl.load(above + to, mask=here, other=0.0) * slope
        if THROUGH:
            g += carry * (tl.where(value > threshold, 0.0, 1.0) - slope * (value * unit))
        else:
            g += carry
        carry = g * fraction
        plain += g
        times_x += g * tl.load(x + from_x, mask=here, other=0.0)
        if not STILL:
            tl.store(grad + to, g, mask=here)
    if STILL:
        tl.store(grad + at, plain, mask=here)
    tl.store(grad_r + at, carry, mask=here)
    out = partial + tl.program_id(0) * 2 * channels + c
    tl.store(out, tl.sum(tl.where(here, plain, 0.0), axis=0), mask=mine)
    tl.store(out + channels, tl.sum(tl.where(here, times_x, 0.0), axis=0), mask=mine)


@triton.jit
def _gated(u, current, keep, leak, reset, subtract, threshold):
    """compiled_glif._gated."""
    reset_u = keep * (u * (1.0 - reset)) - leak + current - subtract
    return tl.where(u > threshold, reset_u, keep * u - leak + current)


@triton.jit
def fire_gated(x, u, spikes, keep, leak, reset, subtract, threshold, gain, rows, channels, plane,
               T: tl.constexpr, STILL: tl.constexpr, BR: tl.constexpr, BC: tl.constexpr):
    """compiled_glif.fire_gated."""
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    row = tl.program_id(0) * BR + tl.arange(0, BR)
    mine = c < channels
    here = tl.expand_dims(row < rows, 1) & tl.expand_dims(mine, 0)
    at = tl.expand_dims(row.to(tl.int64) * channels, 1) + tl.expand_dims(c, 0)
    keep_c = _channels(keep + c, mine)
    leak_c = _channels(leak + c, mine)
    reset_c = _channels(reset + c, mine)
    subtract_c = _channels(subtract + c, mine)
    threshold_c = _channels(threshold + c, mine)
    state = tl.load(u + at, mask=here, other=0.0)
    from_x, to, of_gain = at, at, c
    for _ in range(T):
        factor = _channels(gain + of_gain, mine)
        current = factor * tl.load(x + from_x, mask=here, other=0.0)
        state = _gated(state, current, keep_c, leak_c, reset_c, subtract_c, threshold_c)
        tl.store(spikes + to, (state > threshold_c).to(tl.float32), mask=here)
        to += plane
        of_gain += channels
        if not STILL:
            from_x += plane
    tl.store(u + at, state, mask=here)


@triton.jit
def fire_gated_backward(x, u0, above, grad_u, grad, v, partial, keep, leak, reset, subtract,
                        threshold, gain, rows, channels, plane, half, height, steep, decay,
                        T: tl.constexpr, STILL: tl.constexpr, FRESH: tl.constexpr,
                        SHAPE: tl.constexpr, BARRIER: tl.constexpr, BR: tl.constexpr,
                        BC: tl.constexpr):
    """compiled_glif.fire_gated_backward; `v` as in `fire_backward`, `partial` float32
    (tiles, 5 + T, channels)."""
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    row = tl.program_id(0) * BR + tl.arange(0, BR)
    mine = c < channels
    here = tl.expand_dims(row < rows, 1) & tl.expand_dims(mine, 0)
    at = tl.expand_dims(row.to(tl.int64) * channels, 1) + tl.expand_dims(c, 0)
    keep_c = _channels(keep + c, mine)
    leak_c = _channels(leak + c, mine)
    reset_c = _channels(reset + c, mine)
    subtract_c = _channels(subtract + c, mine)
    threshold_c = _channels(threshold + c, mine)
    first = tl.load(u0 + at, mask=here, other=0.0)
    state = first
    from_x, to, of_gain = at, at, c
    out = partial + tl.program_id(0) * (5 + T) * channels + c
    for _ in range(T):  # the membranes again
        factor = _channels(gain + of_gain, mine)
        current = factor * tl.load(x + from_x, mask=here, other=0.0)
        state = _gated(state, current, keep_c, leak_c, reset_c, subtract_c, threshold_c)
        tl.store(v + to, state, mask=here)
        to += plane
        of_gain += channels
        if not STILL:
            from_x += plane
    if BARRIER:
        tl.debug_barrier()
    # Gradient of the membrane one tick later, by its equation; that of the last from outside.
    outside = tl.load(grad_u + at, mask=here, other=0.0)
    later = tl.zeros((BR, BC), tl.float32)
    plain = tl.zeros((BR, BC), tl.float32)
    of_keep = tl.zeros((BR, BC), tl.float32)
    of_leak = tl.zeros((BR, BC), tl.float32)
    of_reset = tl.zeros((BR, BC), tl.float32)
    of_subtract = tl.zeros((BR, BC), tl.float32)
    of_threshold = tl.zeros((BR, BC), tl.float32)
    for _ in range(T):
        to -= plane
        of_gain -= channels
        if not STILL:
            from_x -= plane
        value = tl.load(v + to, mask=here, other=0.0)
        over = value - threshold_c
        slope = _slope(over, 0.0, half, height, steep, decay, SHAPE)
        fired = (over > 0.0).to(tl.float32)
        stay = 1.0 - reset_c * fired
        of_spike = (tl.load(above + to, mask=here, other=0.0)
                    - later * (keep_c * reset_c * value + subtract_c))
        of_keep += later * value * stay
        of_reset -= later * keep_c * value * fired
        of_subtract -= later * fired
        of_threshold -= of_spike * slope
        later = of_spike * slope + later * keep_c * stay + outside
        outside = tl.zeros((BR, BC), tl.float32)
        of_leak -= later
        factor = _channels(gain + of_gain, mine)
        input_ = tl.load(x + from_x, mask=here, other=0.0)
        summed = tl.sum(tl.where(here, later * input_, 0.0), axis=0)
        tl.store(out + (of_gain - c + 5 * channels), summed, mask=mine)
        plain += later * factor
        if not STILL:
            tl.store(grad + to, later * factor, mask=here)
    if STILL:
        tl.store(grad + at, plain, mask=here)
    if not FRESH:  # the spikes before the first tick
        over = first - threshold_c
        slope = _slope(over, 0.0, half, height, steep, decay, SHAPE)
        fired = (over > 0.0).to(tl.float32)
        stay = 1.0 - reset_c * fired
        of_spike = -later * (keep_c * reset_c * first + subtract_c)
        of_keep += later * first * stay
        of_reset -= later * keep_c * first * fired
        of_subtract -= later * fired
        of_threshold -= of_spike * slope
        later = of_spike * slope + later * keep_c * stay
    tl.store(grad_u + at, later, mask=here)
    tl.store(out, tl.sum(tl.where(here, of_keep, 0.0), axis=0), mask=mine)
    tl.store(out + channels, tl.sum(tl.where(here, of_leak, 0.0), axis=0), mask=mine)
    tl.store(out + 2 * channels, tl.sum(tl.where(here, of_reset, 0.0), axis=0), mask=mine)
    tl.store(out + 3 * channels, tl.sum(tl.where(here, of_subtract, 0.0), axis=0), mask=mine)
    tl.store(out + 4 * channels, tl.sum(tl.where(here, of_threshold, 0.0), axis=0), mask=mine)


INTERPRETED = not isinstance(fire, triton.JITFunction)
"""Whether they run on the CPU: TRITON_INTERPRET was 1 when Triton made them."""
