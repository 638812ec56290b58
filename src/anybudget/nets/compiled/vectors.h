/* What the kernels have in common: vectors of float32, activations, and maps of pixels.
 *
 * Kernels for training on the CPU in one thread, of float32 tensors whose channels come last. `build.py` compiles them.
 * Nothing is kept or allocated: work space comes from the caller. What is no number stays none. */

#ifndef ANYBUDGET_VECTORS_H
#define ANYBUDGET_VECTORS_H

#include <string.h>

/* Numbers in a vector: as many as a register holds. Compilers make poor code of longer ones. */
#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif

typedef float vec __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));
typedef int mask __attribute__((vector_size(LANES * sizeof(int))));

#define INLINE static inline __attribute__((always_inline))

enum activation { NONE, RELU, RELU6, HARD_SWISH };

INLINE vec load(const float *from) { return *(const vec *)from; }
INLINE void store(float *to, vec value) { *(vec *)to = value; }
INLINE vec all(float value) { return value - (vec){0}; }
INLINE vec choose(mask where, vec yes, vec no) { return (vec)((where & (mask)yes) | (~where & (mask)no)); }

/* Comparisons are such that NaN stays NaN. */
INLINE vec clip(vec v, float low, float high)
{
    v = choose(v < low, all(low), v);
    return choose(v > high, all(high), v);
}

INLINE vec activate(vec v, int act)
{
    if (act == RELU) return choose(v < 0.0f, all(0.0f), v);
    if (act == RELU6) return clip(v, 0.0f, 6.0f);
    if (act == HARD_SWISH) return v * clip(v + 3.0f, 0.0f, 6.0f) * (1.0f / 6.0f);
    return v;
}

/* The gradient of an activation's input, from that of its output. */
INLINE vec deactivate(vec gradient, vec v, int act)
{
    if (act == RELU) return choose(v <= 0.0f, all(0.0f), gradient);
    if (act == RELU6) return choose((v <= 0.0f) | (v >= 6.0f), all(0.0f), gradient);
    if (act == HARD_SWISH)
        return choose(v < -3.0f, all(0.0f), choose(v <= 3.0f, gradient * (v * (1.0f / 3.0f) + 0.5f), gradient));
    return gradient;
}

struct map {
    long height, width, channels;
};

/* Copy up to LANES channels of a map into the middle of one with `border` on each side, of zeros written before. */
INLINE void spread(const float *image, struct map of, long first, long border, float *out)
{
    long some = of.channels - first < LANES ? of.channels - first : LANES, wide = of.width + 2 * border;
    for (long row = 0; row < of.height; row++) {
        const float *from = image + row * of.width * of.channels + first;
        float *to = out + ((row + border) * wide + border) * LANES;
        if (some == LANES)
            for (long column = 0; column < of.width; column++)
                store(to + column * LANES, load(from + column * of.channels));
        else
            for (long column = 0; column < of.width; column++)
                for (long lane = 0; lane < some; lane++) to[column * LANES + lane] = from[column * of.channels + lane];
    }
}

#endif
