/* A pointwise convolution, its norm and activation, and a depthwise convolution in one.
 *
 * What lies between is computed anew for LANES of its channels of an image at a time, and never written to memory.
 * The norm is a factor and a term of the pointwise convolution by then: its moments follow from those of the input. */

#include "vectors.h"

struct pair {
    struct map from, to;       /* with the channels in between */
    long inputs, stride;
    int size, act;
    const float *expand;       /* [channels, inputs], times what the norm multiplies by */
    const float *shift;        /* [channels] */
    const float *kernel;       /* [channels, size, size] */
};

/* The weights of LANES channels, channels last. */
struct lanes {
    float *expand, *shift, *taps;
};

static long places(const struct pair *of) { return of->from.height * of->from.width; }
static long wide(const struct pair *of) { return of->from.width + of->size / 2 * 2; }
static long padded_places(const struct pair *of) { return (of->from.height + of->size / 2 * 2) * wide(of); }

/* One number for each of LANES channels, `stride` apart; 0 for those that are none. */
static void take(const float *numbers, long stride, long some, float *out)
{
    for (long lane = 0; lane < LANES; lane++) out[lane] = lane < some ? numbers[lane * stride] : 0.0f;
}

static struct lanes take_weights(const struct pair *of, long first, int turned, float *room)
{
    long some = of->from.channels - first < LANES ? of->from.channels - first : LANES, taps = of->size * of->size;
    struct lanes found = {room, room + of->inputs * LANES, room + (of->inputs + 1) * LANES};
    for (long input = 0; input < of->inputs; input++)
        take(of->expand + first * of->inputs + input, of->inputs, some, found.expand + input * LANES);
    take(of->shift + first, 1, some, found.shift);
    for (long tap = 0; tap < taps; tap++)
        take(of->kernel + first * taps + (turned ? taps - 1 - tap : tap), taps, some, found.taps + tap * LANES);
    return found;
}

INLINE void activate_tile(vec *values, int tile, int act)
{
    switch (act) {
    case RELU: for (int t = 0; t < tile; t++) values[t] = activate(values[t], RELU); break;
    case RELU6: for (int t = 0; t < tile; t++) values[t] = activate(values[t], RELU6); break;
    case HARD_SWISH: for (int t = 0; t < tile; t++) values[t] = activate(values[t], HARD_SWISH); break;
    default: break;
    }
}

INLINE void expand_tile(const float *x, const struct pair *of, const struct lanes *by, int tile, float *before,
                        float *after)
{
    vec sum[8];
    for (int t = 0; t < tile; t++) sum[t] = load(by->shift);
    for (long input = 0; input < of->inputs; input++) {
        vec factor = load(by->expand + input * LANES);
        for (int t = 0; t < tile; t++) sum[t] += factor * x[t * of->inputs + input];
    }
    if (before)
        for (int t = 0; t < tile; t++) store(before + t * LANES, sum[t]);
    activate_tile(sum, tile, of->act);
    for (int t = 0; t < tile; t++) store(after + t * LANES, sum[t]);
}

/* LANES channels of an image x [places, inputs]: activated, into the middle of `padded`; and `before` it, or NULL. */
static void expand(const float *x, const struct pair *of, const struct lanes *by, float *before, float *padded)
{
    long border = of->size / 2;
    for (long row = 0; row < of->from.height; row++) {
        float *after = padded + ((row + border) * wide(of) + border) * LANES;
        long column = 0, at = row * of->from.width;
        for (; column + 8 <= of->from.width; column += 8)
            expand_tile(x + (at + column) * of->inputs, of, by, 8, before ? before + (at + column) * LANES : NULL,
                        after + column * LANES);
        for (; column + 3 <= of->from.width; column += 3)
            expand_tile(x + (at + column) * of->inputs, of, by, 3, before ? before + (at + column) * LANES : NULL,
                        after + column * LANES);
        for (; column < of->from.width; column++)
            expand_tile(x + (at + column) * of->inputs, of, by, 1, before ? before + (at + column) * LANES : NULL,
                        after + column * LANES);
    }
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

INLINE void convolve_tile(const float *padded, long wide, const float *taps, int size, long stride, int tile,
                          long channels, long some, float *out)
{
    vec sum[6] = {{0}};
    for (int i = 0; i < size; i++)
        for (int j = 0; j < size; j++) {
            vec factor = load(taps + (i * size + j) * LANES);
            for (int t = 0; t < tile; t++) sum[t] += factor * load(padded + (i * wide + t * stride + j) * LANES);
        }
    for (int t = 0; t < tile; t++) store_some(out + t * channels, sum[t], some);
}

/* A depthwise convolution of a padded map; `some` of LANES channels are written, every `channels` numbers a place. */
INLINE void convolve(const float *padded, long wide, const float *taps, int size, long stride, long rows, long columns,
                     long channels, long some, float *out)
{
    for (long row = 0; row < rows; row++) {
        const float *from = padded + row * stride * wide * LANES;
        float *to = out + row * columns * channels;
        long column = 0;
        for (; column + 6 <= columns; column += 6)
            convolve_tile(from + column * stride * LANES, wide, taps, size, stride, 6, channels, some,
                          to + column * channels);
        for (; column + 3 <= columns; column += 3)
            convolve_tile(from + column * stride * LANES, wide, taps, size, stride, 3, channels, some,
                          to + column * channels);
        for (; column < columns; column++)
            convolve_tile(from + column * stride * LANES, wide, taps, size, stride, 1, channels, some,
                          to + column * channels);
    }
}

static void convolve_any(const float *padded, const struct pair *of, const float *taps, long stride, struct map to,
                         long some, float *out)
{
    switch (of->size) {
    case 3: convolve(padded, wide(of), taps, 3, stride, to.height, to.width, to.channels, some, out); break;
    case 5: convolve(padded, wide(of), taps, 5, stride, to.height, to.width, to.channels, some, out); break;
    default: convolve(padded, wide(of), taps, 7, stride, to.height, to.width, to.channels, some, out);
    }
}

/* x: [images, height, width, inputs], about its mean; expand: [channels, inputs]; shift: [channels]; kernel:
 * [channels, size, size], padded by half its 3, 5 or 7; out: [images, ceil(height / stride), ceil(width / stride),
 * channels]; room: `expand_depthwise_room`. */
void expand_depthwise_forward(const float *x, const float *expand_by, const float *shift, const float *kernel,
                              long images, long height, long width, long inputs, long channels, long size, long stride,
                              int act, float *out, float *room)
{
    struct map to = {(height + stride - 1) / stride, (width + stride - 1) / stride, channels};
    struct pair of = {{height, width, channels}, to, inputs, stride, (int)size, act, expand_by, shift, kernel};
    float *padded = room, *weights = room + padded_places(&of) * LANES;
    memset(padded, 0, padded_places(&of) * LANES * sizeof(float));
    for (long first = 0; first < channels; first += LANES) {
        long some = channels - first < LANES ? channels - first : LANES;
        struct lanes by = take_weights(&of, first, 0, weights);
        for (long image = 0; image < images; image++) {
            expand(x + image * places(&of) * inputs, &of, &by, NULL, padded);
            convolve_any(padded, &of, by.taps, stride, to, some, out + image * to.height * to.width * channels + first);
        }
    }
}

/* Add to each place of a padded map what the places of the output that saw it give back: for strides above 1. */
INLINE void scatter(const float *gradient, const struct pair *of, const float *taps, int size, float *padded)
{
    for (long row = 0; row < of->to.height; row++)
        for (int i = 0; i < size; i++)
            for (long column = 0; column < of->to.width; column++) {
                vec given = load(gradient + (row * of->to.width + column) * LANES);
                float *to = padded + ((row * of->stride + i) * wide(of) + column * of->stride) * LANES;
                for (int j = 0; j < size; j++)
                    store(to + j * LANES, load(to + j * LANES) + given * load(taps + (i * size + j) * LANES));
            }
}

/* The gradient of LANES channels of the depthwise convolution's input, packed. */
static void input_gradient(const float *gradient, const struct pair *of, const float *taps, float *padded, float *out)
{
    struct map packed = {of->from.height, of->from.width, LANES};
    long border = of->size / 2;
    if (of->stride == 1) {
        convolve_any(gradient, of, taps, 1, packed, LANES, out);
        return;
    }
    memset(padded, 0, padded_places(of) * LANES * sizeof(float));
    switch (of->size) {
    case 3: scatter(gradient, of, taps, 3, padded); break;
    case 5: scatter(gradient, of, taps, 5, padded); break;
    default: scatter(gradient, of, taps, 7, padded);
    }
    for (long row = 0; row < of->from.height; row++)
        memcpy(out + row * of->from.width * LANES, padded + ((row + border) * wide(of) + border) * LANES,
               of->from.width * LANES * sizeof(float));
}

/* Through the activation, in place; adds up what remains. */
static void through_activation(float *gradient, const float *before, long count, int act, float *total)
{
    vec sum = load(total);
    for (long place = 0; place < count; place++) {
        vec own = load(gradient + place * LANES), value = load(before + place * LANES);
        switch (act) {
        case RELU: own = deactivate(own, value, RELU); break;
        case RELU6: own = deactivate(own, value, RELU6); break;
        case HARD_SWISH: own = deactivate(own, value, HARD_SWISH); break;
        default: break;
        }
        sum += own;
        store(gradient + place * LANES, own);
    }
    store(total, sum);
}

/* Adds the products of x with the gradients of LANES channels: [inputs] vectors. */
static void product(const float *x, const float *gradient, long count, long inputs, float *out)
{
    long input = 0;
    for (; input + 8 <= inputs; input += 8) {
        vec sum[8];
        for (int t = 0; t < 8; t++) sum[t] = load(out + (input + t) * LANES);
        for (long place = 0; place < count; place++) {
            vec own = load(gradient + place * LANES);
            for (int t = 0; t < 8; t++) sum[t] += own * x[place * inputs + input + t];
        }
        for (int t = 0; t < 8; t++) store(out + (input + t) * LANES, sum[t]);
    }
    for (; input < inputs; input++) {
        vec sum = load(out + input * LANES);
        for (long place = 0; place < count; place++) sum += load(gradient + place * LANES) * x[place * inputs + input];
        store(out + input * LANES, sum);
    }
}

/* Adds the gradients of LANES channels times their weights to those of x, [places, whole vectors]. */
static void back_to_input(const float *gradient, const float *weights, long count, long vectors, float *out)
{
    for (long v = 0; v < vectors; v++) {
        vec factor[LANES];
        for (int lane = 0; lane < LANES; lane++) factor[lane] = load(weights + (lane * vectors + v) * LANES);
        for (long place = 0; place < count; place++) {
            vec even = load(out + (place * vectors + v) * LANES), odd = {0};
            for (int lane = 0; lane < LANES; lane += 2) {
                even += factor[lane] * gradient[place * LANES + lane];
                odd += factor[lane + 1] * gradient[place * LANES + lane + 1];
            }
            store(out + (place * vectors + v) * LANES, even + odd);
        }
    }
}

static void correlate_any(const float *padded, const struct pair *of, const float *gradient, long row_step,
                          float *of_kernel)
{
    long columns = of->to.width, rows = of->to.height;
    for (int i = 0; i < of->size; i += of->size == 3 ? 3 : 1) {
        const float *from = padded + i * wide(of) * LANES;
        float *to = of_kernel + i * of->size * LANES;
        switch (of->size) {
        case 3: correlate(from, wide(of), gradient, LANES, row_step, rows, columns, 3, 3, of->stride, to); break;
        case 5: correlate(from, wide(of), gradient, LANES, row_step, rows, columns, 5, 1, of->stride, to); break;
        default: correlate(from, wide(of), gradient, LANES, row_step, rows, columns, 7, 1, of->stride, to);
        }
    }
}

/* From the gradient of `expand_depthwise_forward`'s output: what reaches x through the pointwise convolution as it
 * stands, `of_x` [images, height, width, inputs]; the sums of the gradients g before the activation, `of_shift`
 * [channels], and of g times x, `of_expand` [channels, inputs]; and the gradient of the kernel, `of_kernel`. */
void expand_depthwise_backward(const float *gradient, const float *x, const float *expand_by, const float *shift,
                               const float *kernel, long images, long height, long width, long inputs, long channels,
                               long size, long stride, int act, float *of_x, float *of_expand, float *of_shift,
                               float *of_kernel, float *room)
{
    struct map to = {(height + stride - 1) / stride, (width + stride - 1) / stride, channels};
    struct pair of = {{height, width, channels}, to, inputs, stride, (int)size, act, expand_by, shift, kernel};
    long border = stride == 1 ? size / 2 : 0, vectors = (inputs + LANES - 1) / LANES, taps = size * size;
    long step = (to.width + 2 * border) * LANES, blocks = (channels + LANES - 1) / LANES;
    float *padded = room, *packed = padded + padded_places(&of) * LANES, *scattered = packed + padded_places(&of) * LANES;
    float *before = scattered + padded_places(&of) * LANES, *given = before + places(&of) * LANES;
    float *whole = given + places(&of) * LANES, *kept = whole + places(&of) * vectors * LANES;
    long sums = (inputs + 1 + taps) * LANES, block_room = 2 * sums + vectors * LANES * LANES;
    memset(room, 0, (kept - room + blocks * block_room) * sizeof(float));
    for (long block = 0; block < blocks; block++) {
        long first = block * LANES, some = channels - first < LANES ? channels - first : LANES;
        float *own = kept + block * block_room;
        take_weights(&of, first, stride == 1, own);
        for (long lane = 0; lane < some; lane++)
            memcpy(own + 2 * sums + lane * vectors * LANES, expand_by + (first + lane) * inputs, inputs * sizeof(float));
    }
    for (long image = 0; image < images; image++) {
        const float *seen = x + image * places(&of) * inputs;
        memset(whole, 0, places(&of) * vectors * LANES * sizeof(float));
        for (long block = 0; block < blocks; block++) {
            float *own = kept + block * block_room, *total = own + sums;
            struct lanes by = {own, own + inputs * LANES, own + (inputs + 1) * LANES};
            expand(seen, &of, &by, before, padded);
            spread(gradient + image * to.height * to.width * channels, to, block * LANES, border, packed);
            correlate_any(padded, &of, packed + border * step + border * LANES, step, total + (inputs + 1) * LANES);
            input_gradient(packed, &of, by.taps, scattered, given);
            through_activation(given, before, places(&of), act, total + inputs * LANES);
            product(seen, given, places(&of), inputs, total);
            back_to_input(given, own + 2 * sums, places(&of), vectors, whole);
        }
        for (long place = 0; place < places(&of); place++)
            memcpy(of_x + (image * places(&of) + place) * inputs, whole + place * vectors * LANES,
                   inputs * sizeof(float));
    }
    for (long channel = 0; channel < channels; channel++) {
        const float *total = kept + channel / LANES * block_room + sums + channel % LANES;
        for (long input = 0; input < inputs; input++) of_expand[channel * inputs + input] = total[input * LANES];
        of_shift[channel] = total[inputs * LANES];
        for (long tap = 0; tap < taps; tap++) of_kernel[channel * taps + tap] = total[(inputs + 1 + tap) * LANES];
    }
}

/* How many numbers the room of both has to hold. */
long expand_depthwise_room(long height, long width, long inputs, long channels, long size)
{
    struct pair of = {{height, width, channels}, {height, width, channels}, inputs, 1, (int)size, NONE, NULL, NULL, NULL};
    long vectors = (inputs + LANES - 1) / LANES, blocks = (channels + LANES - 1) / LANES;
    long a_block = 2 * (inputs + 1 + size * size) + vectors * LANES;
    return LANES * (3 * padded_places(&of) + (2 + vectors) * places(&of) + (blocks + 1) * a_block);
}
