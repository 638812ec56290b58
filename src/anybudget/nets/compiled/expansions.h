/* Pointwise convolutions between maps of few channels and LANES of many: of the places of an image, [places, inputs]. */

#ifndef ANYBUDGET_EXPANSIONS_H
#define ANYBUDGET_EXPANSIONS_H

#include "convolutions.h"

INLINE void activate_tile(vec *values, int tile, int act)
{
    switch (act) {
    case RELU: for (int t = 0; t < tile; t++) values[t] = activate(values[t], RELU); break;
    case RELU6: for (int t = 0; t < tile; t++) values[t] = activate(values[t], RELU6); break;
    case HARD_SWISH: for (int t = 0; t < tile; t++) values[t] = activate(values[t], HARD_SWISH); break;
    default: break;
    }
}

/* Weights of LANES channels [inputs, LANES], what is added [LANES], and the activation that follows. */
struct expansion {
    const float *weights, *shift;
    long inputs;
    int act;
};

INLINE void expand_tile(const float *x, const struct expansion *by, int tile, float *before, float *after)
{
    vec sum[TILE];
    for (int t = 0; t < tile; t++) sum[t] = load(by->shift);
    for (long input = 0; input < by->inputs; input++) {
        vec factor = load(by->weights + input * LANES);
        for (int t = 0; t < tile; t++) sum[t] += factor * x[t * by->inputs + input];
    }
    if (before)
        for (int t = 0; t < tile; t++) store(before + t * LANES, sum[t]);
    activate_tile(sum, tile, by->act);
    for (int t = 0; t < tile; t++) store(after + t * LANES, sum[t]);
}

/* LANES channels of an image x: activated, into the middle of `padded`; and `before` it, or NULL. */
static void expand(const float *x, struct map of, const struct expansion *by, long border, float *before, float *padded)
{
    for (long row = 0; row < of.height; row++) {
        float *after = padded + ((row + border) * (of.width + 2 * border) + border) * LANES;
        const float *seen = x + row * of.width * by->inputs;
        float *own = before ? before + row * of.width * LANES : NULL;
        for (long column = 0, tile; column < of.width; column += tile) {
            tile = tile_at(column, of.width);
            long at = least(column, of.width - tile);
#define EXPAND(tile) expand_tile(seen + at * by->inputs, by, tile, own ? own + at * LANES : NULL, after + at * LANES)
            if (tile == TILE) EXPAND(TILE);
            else if (tile == TILE / 2) EXPAND(TILE / 2);
            else if (tile == TILE / 4) EXPAND(TILE / 4);
            else EXPAND(1);
#undef EXPAND
        }
    }
}

/* Adds LANES channels times their weights [LANES, vectors] to `out` [places, vectors]. */
static void contract(const float *hidden, const float *weights, long count, long vectors, float *out)
{
    for (long v = 0; v < vectors; v++) {
        vec factor[LANES];
        for (int lane = 0; lane < LANES; lane++) factor[lane] = load(weights + (lane * vectors + v) * LANES);
        for (long place = 0; place < count; place++) {
            vec even = load(out + (place * vectors + v) * LANES), odd = {0};
            for (int lane = 0; lane < LANES; lane += 2) {
                even += factor[lane] * hidden[place * LANES + lane];
                odd += factor[lane + 1] * hidden[place * LANES + lane + 1];
            }
            store(out + (place * vectors + v) * LANES, even + odd);
        }
    }
}

/* Copy places of whole vectors to places of `channels` numbers. */
INLINE void narrow(const float *whole, long count, long vectors, long channels, float *out)
{
    for (long place = 0; place < count; place++)
        memcpy(out + place * channels, whole + place * vectors * LANES, channels * sizeof(float));
}

#endif
