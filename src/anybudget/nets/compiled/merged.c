/* A frozen inverted bottleneck: pointwise convolution, depthwise one, which may be mixed anew each time, and pointwise
 * convolution, with activations after the first two.
 *
 * What lies between is computed for LANES channels of a few images at a time and never written to memory, but for one
 * byte a number: whether the second activation lets a gradient pass. Only the depthwise kernel, its bias and the input
 * have gradients. */

#include "expansions.h"

#define PLACES 128 /* of as many images as are computed together: each block's weights are read once for them */

typedef signed char bytes __attribute__((vector_size(LANES), aligned(1), may_alias));

struct frozen {
    struct depthwise by;       /* with the channels in between */
    long inputs, outputs;
    int act;
    const float *expand;       /* [channels, inputs] */
    const float *shift;        /* [channels] */
    const float *kernel;       /* [channels, size, size] */
    const float *bias;         /* [channels] */
    const float *project;      /* [outputs, channels] */
};

/* Where things lie in the room: for the images computed together, and for each block of LANES channels. */
struct room {
    float *padded, *packed, *given, *whole, *nothing, *blocks;
    long block;
};

/* The weights of a block, as its kernels read them; `project` and `bias` forward only, the rest backward only. */
struct block {
    float *expand, *shift, *taps;
    float *project, *bias;
    float *back, *contract, *sums;
};

static long vectors(long channels) { return (channels + LANES - 1) / LANES; }
static long places(const struct map *of) { return of->height * of->width; }
static long together(const struct frozen *of) { return most(1, PLACES / places(&of->by.from)); }
static long taps_of(const struct frozen *of) { return (long)of->by.size * of->by.size; }

static long lay_out(const struct frozen *of, float *start, struct room *out)
{
    long some = together(of), padded = padded_places(&of->by), wide = most(vectors(of->inputs), vectors(of->outputs));
    out->padded = start;
    out->packed = out->padded + padded * LANES;
    out->given = out->packed + some * padded * LANES;
    out->whole = out->given + places(&of->by.from) * LANES;
    out->nothing = out->whole + some * places(&of->by.from) * wide * LANES;
    out->blocks = out->nothing + LANES;
    out->block = (of->inputs + 1 + 2 * taps_of(of) + 1 + of->outputs + LANES * wide) * LANES;
    return out->blocks - start + vectors(of->by.from.channels) * out->block;
}

static struct block block_at(const struct frozen *of, const struct room *in, long number)
{
    float *expand = in->blocks + number * in->block, *taps = expand + (of->inputs + 1) * LANES;
    float *own = taps + taps_of(of) * LANES, *back = own + (taps_of(of) + 1) * LANES;
    return (struct block){expand, taps - LANES, taps, own + LANES, own, back, back + of->outputs * LANES, own};
}

/* Of all blocks at once, in a room of zeros: channels that are none have weights of 0. */
static void take_weights(const struct frozen *of, const struct room *in, int backward)
{
    for (long first = 0; first < of->by.from.channels; first += LANES) {
        struct block to = block_at(of, in, first / LANES);
        long channels = of->by.from.channels, some = least(channels - first, LANES);
        for (long input = 0; input < of->inputs; input++)
            take(of->expand + first * of->inputs + input, of->inputs, some, to.expand + input * LANES);
        take(of->shift + first, 1, some, to.shift);
        take_taps(of->kernel, first, some, of->by.size, backward && of->by.stride == 1, to.taps);
        if (!backward) {
            take(of->bias + first, 1, some, to.bias);
            for (long output = 0; output < of->outputs; output++)
                for (long lane = 0; lane < some; lane++)
                    to.project[lane * vectors(of->outputs) * LANES + output] =
                        of->project[output * channels + first + lane];
            continue;
        }
        for (long output = 0; output < of->outputs; output++)
            take(of->project + output * channels + first, 1, some, to.back + output * LANES);
        for (long lane = 0; lane < some; lane++)
            memcpy(to.contract + lane * vectors(of->inputs) * LANES, of->expand + (first + lane) * of->inputs,
                   of->inputs * sizeof(float));
    }
}

/* Activates in place; `passed`, unless it is NULL, says where a gradient passes. */
INLINE void activated(float *hidden, long count, int act, signed char *passed)
{
    for (long place = 0; place < count; place++) {
        vec value = load(hidden + place * LANES);
        if (passed) {
            mask stopped = act == RELU ? value <= 0.0f : (value <= 0.0f) | (value >= 6.0f);
            *(bytes *)(passed + place * LANES) = __builtin_convertvector(~stopped, bytes);
        }
        store(hidden + place * LANES, activate(value, act));
    }
}

/* Stops gradients in the middle of a map where `passed` does; adds up the others. */
static void stop(float *packed, const struct map *of, long border, const signed char *passed, float *total)
{
    vec sum = load(total);
    for (long row = 0; row < of->height; row++) {
        float *at = packed + ((row + border) * (of->width + 2 * border) + border) * LANES;
        for (long column = 0; column < of->width; column++) {
            bytes own = *(const bytes *)(passed + (row * of->width + column) * LANES);
            vec value = (vec)((mask)load(at + column * LANES) & __builtin_convertvector(own, mask));
            sum += value;
            store(at + column * LANES, value);
        }
    }
    store(total, sum);
}

/* Stops gradients [places, LANES] where the activation's output, in the middle of a padded map, says so. */
INLINE void stop_expanded(float *given, const struct depthwise *of, const float *padded, int act)
{
    long border = of->size / 2;
    for (long row = 0; row < of->from.height; row++) {
        const float *output = padded + ((row + border) * padded_width(of) + border) * LANES;
        float *at = given + row * of->from.width * LANES;
        for (long column = 0; column < of->from.width; column++)
            store(at + column * LANES, deactivate(load(at + column * LANES), load(output + column * LANES), act));
    }
}

static struct frozen frozen_of(long height, long width, long inputs, long channels, long outputs, long size,
                               long stride, int act)
{
    struct map from = {height, width, channels};
    struct map to = {(height + stride - 1) / stride, (width + stride - 1) / stride, channels};
    return (struct frozen){{from, to, (int)size, stride}, inputs, outputs, act, NULL, NULL, NULL, NULL, NULL};
}

/* x: [images, height, width, inputs]; out: [images, ceil(height / stride), ceil(width / stride), outputs]; act: RELU,
 * RELU6 or, forward alone, HARD_SWISH; size: 3, 5 or 7; stride: 1 or 2; passed: for `merged_backward`, [images, blocks
 * of LANES channels, places of the output, LANES], or NULL; room: `merged_room`; for the others see `struct frozen`. */
void merged_forward(const float *x, const float *expand_by, const float *shift, const float *kernel, const float *bias,
                    const float *project, long images, long height, long width, long inputs, long channels,
                    long outputs, long size, long stride, int act, float *out, signed char *passed, float *room)
{
    struct frozen of = frozen_of(height, width, inputs, channels, outputs, size, stride, act);
    struct room in;
    memset(room, 0, lay_out(&of, room, &in) * sizeof(float));
    of.expand = expand_by, of.shift = shift, of.kernel = kernel, of.bias = bias, of.project = project;
    take_weights(&of, &in, 0);
    long results = places(&of.by.to), blocks = vectors(channels);
    for (long begin = 0, some; begin < images; begin += some) {
        some = least(together(&of), images - begin);
        memset(in.whole, 0, some * results * vectors(outputs) * LANES * sizeof(float));
        for (long block = 0; block < blocks; block++) {
            struct block with = block_at(&of, &in, block);
            struct expansion by = {with.expand, with.shift, inputs, act};
            for (long image = 0; image < some; image++) {
                const float *seen = x + (begin + image) * places(&of.by.from) * inputs;
                float *hidden = in.packed + image * results * LANES;
                signed char *own = passed ? passed + ((begin + image) * blocks + block) * results * LANES : NULL;
                expand(seen, of.by.from, &by, size / 2, NULL, in.padded);
                convolve(in.padded, &of.by, with.taps, load(with.bias), hidden, LANES, LANES);
                if (act == RELU) activated(hidden, results, RELU, own);
                else if (act == RELU6) activated(hidden, results, RELU6, own);
                else activated(hidden, results, HARD_SWISH, NULL);
            }
            contract(in.packed, with.project, some * results, vectors(outputs), in.whole);
        }
        narrow(in.whole, some * results, vectors(outputs), outputs, out + begin * results * outputs);
    }
}

/* From the gradient of `merged_forward`'s output: of x, or NULL, of the kernel and of the bias. */
void merged_backward(const float *gradient, const float *x, const signed char *passed, const float *expand_by,
                     const float *shift, const float *kernel, const float *project, long images, long height,
                     long width, long inputs, long channels, long outputs, long size, long stride, int act,
                     float *of_x, float *of_kernel, float *of_bias, float *room)
{
    struct frozen of = frozen_of(height, width, inputs, channels, outputs, size, stride, act);
    struct room in;
    memset(room, 0, lay_out(&of, room, &in) * sizeof(float));
    of.expand = expand_by, of.shift = shift, of.kernel = kernel, of.project = project;
    take_weights(&of, &in, 1);
    long results = places(&of.by.to), count = places(&of.by.from), blocks = vectors(channels), taps = size * size;
    long border = size / 2, step = (of.by.to.width + 2 * border) * LANES;
    for (long begin = 0, some; begin < images; begin += some) {
        some = least(together(&of), images - begin);
        memset(in.whole, 0, some * count * vectors(inputs) * LANES * sizeof(float));
        for (long block = 0; block < blocks; block++) {
            struct block with = block_at(&of, &in, block);
            struct expansion by = {with.expand, with.shift, inputs, act}, back = {with.back, in.nothing, outputs, NONE};
            for (long image = begin; image < begin + some; image++) {
                expand(x + image * count * inputs, of.by.from, &by, border, NULL, in.padded);
                expand(gradient + image * results * outputs, of.by.to, &back, border, NULL, in.packed);
                stop(in.packed, &of.by.to, border, passed + (image * blocks + block) * results * LANES, with.sums);
                correlate(in.padded, &of.by, in.packed + border * step + border * LANES, LANES, step,
                          with.sums + LANES);
                if (!of_x) continue;
                input_gradient(in.packed, &of.by, with.taps, in.given);
                if (act == RELU) stop_expanded(in.given, &of.by, in.padded, RELU);
                else stop_expanded(in.given, &of.by, in.padded, RELU6);
                contract(in.given, with.contract, count, vectors(inputs),
                         in.whole + (image - begin) * count * vectors(inputs) * LANES);
            }
        }
        if (of_x) narrow(in.whole, some * count, vectors(inputs), inputs, of_x + begin * count * inputs);
    }
    for (long channel = 0; channel < channels; channel++) {
        const float *sums = block_at(&of, &in, channel / LANES).sums + channel % LANES;
        of_bias[channel] = sums[0];
        for (long tap = 0; tap < taps; tap++) of_kernel[channel * taps + tap] = sums[(tap + 1) * LANES];
    }
}

/* How many channels lie side by side in `passed`. */
long merged_lanes(void) { return LANES; }

/* How many numbers the room of both has to hold. */
long merged_room(long height, long width, long inputs, long channels, long outputs, long size, long stride)
{
    struct frozen of = frozen_of(height, width, inputs, channels, outputs, size, stride, RELU);
    struct room in;
    return lay_out(&of, NULL, &in);
}
