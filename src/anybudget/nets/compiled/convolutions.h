/* Convolutions of LANES channels at a time, which lie in memory as vectors.
 *
 * A tile is as many places of a row as are computed side by side. Loops over tiles are unrolled whole, so that what is
 * read once serves every product it enters. What the padding alone would add is left out. */

#ifndef ANYBUDGET_CONVOLUTIONS_H
#define ANYBUDGET_CONVOLUTIONS_H

#include "vectors.h"

#define TILE 8

#ifdef __AVX512F__
#define ROWS(size) ((size) == 7 ? 2 : 3) /* of a kernel whose sums fit into registers */
#else
#define ROWS(size) ((size) == 3 ? 3 : 1)
#endif

#define CACHED 16384 /* bytes of a padded map that are passed over again and again */

#define UNROLLED _Pragma("GCC unroll 32")

/* A depthwise convolution padded by half its kernel of 3, 5 or 7. */
struct depthwise {
    struct map from, to;
    int size;
    long stride;
};

INLINE long padded_width(const struct depthwise *of) { return of->from.width + of->size / 2 * 2; }
INLINE long padded_places(const struct depthwise *of) { return (of->from.height + of->size / 2 * 2) * padded_width(of); }
INLINE long least(long a, long b) { return a < b ? a : b; }
INLINE long most(long a, long b) { return a > b ? a : b; }

/* Places computed at once from `column` on, if there are `width`; the last tile may begin before it. */
INLINE int tile_at(long column, long width)
{
    long left = width - column;
    if (left > TILE / 2 && width >= TILE) return TILE;
    if (left > TILE / 4 && width >= TILE / 2) return TILE / 2;
    return width >= TILE / 4 ? TILE / 4 : 1;
}

/* One number for each of LANES channels, `stride` apart; 0 for those that are none. */
INLINE void take(const float *numbers, long stride, long some, float *out)
{
    for (long lane = 0; lane < LANES; lane++) out[lane] = lane < some ? numbers[lane * stride] : 0.0f;
}

/* The kernels of LANES channels, [taps, LANES], from those of all, [channels, taps]; perhaps turned by half. */
INLINE void take_taps(const float *kernel, long first, long some, int size, int turned, float *out)
{
    long taps = (long)size * size;
    for (long tap = 0; tap < taps; tap++)
        take(kernel + first * taps + (turned ? taps - 1 - tap : tap), taps, some, out + tap * LANES);
}

INLINE void store_some(float *to, vec value, long some)
{
    if (some == LANES) {
        store(to, value);
        return;
    }
    float lanes[LANES];
    store(lanes, value);
    for (long lane = 0; lane < some; lane++) to[lane] = lanes[lane];
}

/* `tile` places of a row of the output, from rows `first` to `last` of the kernel and columns `left` to `right` of the
 * map. */
INLINE void convolve_tile(const float *padded, long wide, const float *taps, int size, int stride, int tile, long first,
                          long last, int left, int right, vec start, float *out, long step, long some)
{
    vec sum[TILE];
    UNROLLED for (int t = 0; t < tile; t++) sum[t] = start;
    for (long i = first; i < last; i++)
        UNROLLED for (int u = left; u < right; u++) {
            vec seen = load(padded + (i * wide + u) * LANES);
            UNROLLED for (int t = 0; t < tile; t++)
                if (u >= stride * t && u - stride * t < size)
                    sum[t] += load(taps + (i * size + u - stride * t) * LANES) * seen;
        }
    UNROLLED for (int t = 0; t < tile; t++) store_some(out + t * step, sum[t], some);
}

INLINE void convolve_sized(const float *padded, const struct depthwise *of, const float *taps, int size, int stride,
                           vec start, float *out, long step, long some)
{
    long wide = padded_width(of), width = of->to.width, border = size / 2;
    for (long row = 0; row < of->to.height; row++) {
        long top = row * stride, first = most(0, border - top), last = least(size, border + of->from.height - top);
        const float *from = padded + top * wide * LANES;
        float *to = out + row * width * step;
#define CONVOLVE(tile, column, left, right)                                                                    \
    convolve_tile(from + (column) * stride * LANES, wide, taps, size, stride, tile, first, last, left, right, start, \
                  to + (column) * step, step, some)
        if (stride == 1 && width == TILE) {
            CONVOLVE(TILE, 0, size / 2, size / 2 + TILE);
            continue;
        }
        if (stride == 1 && width == TILE / 2) {
            CONVOLVE(TILE / 2, 0, size / 2, size / 2 + TILE / 2);
            continue;
        }
        for (long column = 0, tile; column < width; column += tile) {
            tile = tile_at(column, width);
            long at = least(column, width - tile);
            if (tile == TILE) CONVOLVE(TILE, at, 0, stride * (TILE - 1) + size);
            else if (tile == TILE / 2) CONVOLVE(TILE / 2, at, 0, stride * (TILE / 2 - 1) + size);
            else if (tile == TILE / 4) CONVOLVE(TILE / 4, at, 0, stride * (TILE / 4 - 1) + size);
            else CONVOLVE(1, at, 0, size);
        }
#undef CONVOLVE
    }
}

INLINE void convolve_strided(const float *padded, const struct depthwise *of, const float *taps, int size, vec start,
                             float *out, long step, long some)
{
    if (of->stride == 1) convolve_sized(padded, of, taps, size, 1, start, out, step, some);
    else convolve_sized(padded, of, taps, size, 2, start, out, step, some);
}

/* LANES channels of a padded map to the output, with a place every `step` numbers, of which `some` are written; each
 * begins with `start`. The stride is 1 or 2. */
static void convolve(const float *padded, const struct depthwise *of, const float *taps, vec start, float *out,
                     long step, long some)
{
    switch (of->size) {
    case 3: convolve_strided(padded, of, taps, 3, start, out, step, some); break;
    case 5: convolve_strided(padded, of, taps, 5, start, out, step, some); break;
    default: convolve_strided(padded, of, taps, 7, start, out, step, some);
    }
}

/* `tile` places of a row of the input's gradient where the stride is 2, every other one: they saw every other tap, `few`
 * from `odd` on, and their row every other row of the kernel, from `first` to `last`. `gradient` is at the row that saw
 * row 0 of the kernel, at the leftmost place that is read. */
INLINE void give_back_tile(const float *gradient, long wide, const float *taps, int size, int odd, int few, int tile,
                           long first, long last, float *out)
{
    vec sum[TILE] = {{0}};
    for (long i = first; i < last; i += 2)
        UNROLLED for (int u = 0; u < tile + few - 1; u++) {
            vec given = load(gradient + (u - i / 2 * wide) * LANES);
            UNROLLED for (int t = 0; t < tile; t++)
                if (t + few - 1 - u >= 0 && t + few - 1 - u < few)
                    sum[t] += load(taps + (i * size + odd + 2 * (t + few - 1 - u)) * LANES) * given;
        }
    UNROLLED for (int t = 0; t < tile; t++) store(out + 2 * t * LANES, sum[t]);
}

INLINE void give_back_row(const float *gradient, const struct depthwise *of, const float *taps, int size, int side,
                          long first, long last, float *out)
{
    int odd = (side + size / 2) % 2, few = (size - odd + 1) / 2, left = (side + size / 2 - odd) / 2 - few + 1;
    long wide = of->to.width + size / 2 * 2, width = (of->from.width - side + 1) / 2;
    for (long column = 0, tile; column < width; column += tile) {
        tile = tile_at(column, width);
        long at = least(column, width - tile);
        const float *from = gradient + (size / 2 + at + left) * LANES;
        float *to = out + (2 * at + side) * LANES;
#define GIVE_BACK(tile) give_back_tile(from, wide, taps, size, odd, few, tile, first, last, to)
        if (tile == TILE) GIVE_BACK(TILE);
        else if (tile == TILE / 2) GIVE_BACK(TILE / 2);
        else if (tile == TILE / 4) GIVE_BACK(TILE / 4);
        else GIVE_BACK(1);
#undef GIVE_BACK
    }
}

INLINE void give_back_sized(const float *gradient, const struct depthwise *of, const float *taps, int size, float *out)
{
    long border = size / 2, wide = of->to.width + 2 * border;
    for (long row = 0; row < of->from.height; row++) {
        long odd = (row + border) % 2, top = (row + border - odd) / 2;  /* the row that saw the kernel's row `odd` */
        long skipped = most(0, top - (of->to.height - 1));
        const float *from = gradient + (border + top) * wide * LANES;
        float *to = out + row * of->from.width * LANES;
        long first = odd + 2 * skipped, last = least(size, odd + 2 * top + 1);
        give_back_row(from, of, taps, size, 0, first, last, to);
        give_back_row(from, of, taps, size, 1, first, last, to);
    }
}

/* The gradient of LANES channels of a depthwise convolution's input, packed, from that of its output, which has a border
 * of zeros of half the kernel's size. `taps` are turned by half where the stride is 1, as they are where it is 2. */
static void input_gradient(const float *gradient, const struct depthwise *of, const float *taps, float *out)
{
    if (of->stride == 1) {
        convolve(gradient, of, taps, (vec){0}, out, LANES, LANES);
        return;
    }
    switch (of->size) {
    case 3: give_back_sized(gradient, of, taps, 3, out); break;
    case 5: give_back_sized(gradient, of, taps, 5, out); break;
    default: give_back_sized(gradient, of, taps, 7, out);
    }
}

/* Add to the sums of `taps` rows of the kernel what `tile` places of the output's gradient give them. */
INLINE void correlate_tile(const float *seen, long wide, const float *gradient, long step, int size, int taps,
                           int stride, int tile, int left, int right, vec *sum)
{
    UNROLLED for (int i = 0; i < taps; i++)
        UNROLLED for (int u = left; u < right; u++) {
            vec value = load(seen + (i * wide + u) * LANES);
            UNROLLED for (int t = 0; t < tile; t++)
                if (u >= stride * t && u - stride * t < size)
                    sum[i * size + u - stride * t] += load(gradient + t * step) * value;
        }
}

/* The same of whole rows, from `first` to `last`; `padded` begins with the row of the map that tap 0 of row 0 sees. */
INLINE void correlate_rows(const float *padded, long wide, const float *gradient, long step, long row_step, long first,
                           long last, long columns, int size, int taps, int stride, float *of_kernel)
{
    vec sum[15]; /* ROWS(size) * size at most */
    UNROLLED for (int tap = 0; tap < taps * size; tap++) sum[tap] = load(of_kernel + tap * LANES);
    for (long row = first; row < last; row++) {
        const float *seen = padded + row * stride * wide * LANES, *given = gradient + row * row_step;
#define CORRELATE(tile, column, left, right)                                                                       \
    correlate_tile(seen + (column) * stride * LANES, wide, given + (column) * step, step, size, taps, stride, tile, \
                   left, right, sum)
        if (stride == 1 && columns == TILE) {
            CORRELATE(TILE, 0, size / 2, size / 2 + TILE);
            continue;
        }
        if (stride == 1 && columns == TILE / 2) {
            CORRELATE(TILE / 2, 0, size / 2, size / 2 + TILE / 2);
            continue;
        }
        long column = 0;
        for (; column + TILE <= columns; column += TILE) CORRELATE(TILE, column, 0, stride * (TILE - 1) + size);
        for (; column + 2 <= columns; column += 2) CORRELATE(2, column, 0, stride + size);
        if (column < columns) CORRELATE(1, column, 0, size);
#undef CORRELATE
    }
    UNROLLED for (int tap = 0; tap < taps * size; tap++) store(of_kernel + tap * LANES, sum[tap]);
}

INLINE void correlate_sized(const float *padded, const struct depthwise *of, const float *gradient, long step,
                            long row_step, int size, int stride, float *of_kernel)
{
    long wide = padded_width(of), border = size / 2, bottom = border + of->from.height - 1;
    long some = most(1, CACHED / (wide * stride * LANES * (long)sizeof(float)));
    for (long begin = 0; begin < of->to.height; begin += some) {
        long end = least(begin + some, of->to.height);
#define CORRELATE(i, taps)                                                                                          \
    correlate_rows(padded + (i) * wide * LANES, wide, gradient, step, row_step,                                     \
                   most(begin, (border - (i) - (taps) + stride) / stride), least(end, (bottom - (i)) / stride + 1), \
                   of->to.width, size, taps, stride, of_kernel + (i) * size * LANES)
        int i = 0;
        for (; i + ROWS(size) <= size; i += ROWS(size)) CORRELATE(i, ROWS(size));
        if (size % ROWS(size)) CORRELATE(i, size % ROWS(size));
#undef CORRELATE
    }
}

INLINE void correlate_strided(const float *padded, const struct depthwise *of, const float *gradient, long step,
                              long row_step, int size, float *of_kernel)
{
    if (of->stride == 1) correlate_sized(padded, of, gradient, step, row_step, size, 1, of_kernel);
    else correlate_sized(padded, of, gradient, step, row_step, size, 2, of_kernel);
}

/* Add the gradient of the kernels of LANES channels, [taps, LANES], from a padded map and the output's gradient, with
 * a place every `step` and a row every `row_step` numbers. The stride is 1 or 2. */
static void correlate(const float *padded, const struct depthwise *of, const float *gradient, long step, long row_step,
                      float *of_kernel)
{
    switch (of->size) {
    case 3: correlate_strided(padded, of, gradient, step, row_step, 3, of_kernel); break;
    case 5: correlate_strided(padded, of, gradient, step, row_step, 5, of_kernel); break;
    default: correlate_strided(padded, of, gradient, step, row_step, 7, of_kernel);
    }
}

#endif
