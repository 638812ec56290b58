/* A pointwise convolution, its norm and activation, and a depthwise convolution in one.
 *
 * What lies between is computed anew for LANES of its channels of an image at a time, and never written to memory.
 * The norm is a factor and a term of the pointwise convolution by then: its moments follow from those of the input. */

#include "expansions.h"

struct pair {
    struct depthwise by;       /* with the channels in between */
    long inputs;
    int act;
    const float *expand;       /* [channels, inputs], times what the norm multiplies by */
    const float *shift;        /* [channels] */
    const float *kernel;       /* [channels, size, size] */
};

/* The weights of LANES channels, channels last. */
struct lanes {
    struct expansion expand;
    float *taps;
};

static long places(const struct pair *of) { return of->by.from.height * of->by.from.width; }

static struct lanes lanes_in(const struct pair *of, float *room)
{
    struct expansion by = {room, room + of->inputs * LANES, of->inputs, of->act};
    return (struct lanes){by, room + (of->inputs + 1) * LANES};
}

static struct lanes take_weights(const struct pair *of, long first, int turned, float *room)
{
    long some = least(of->by.from.channels - first, LANES);
    for (long input = 0; input < of->inputs; input++)
        take(of->expand + first * of->inputs + input, of->inputs, some, room + input * LANES);
    take(of->shift + first, 1, some, room + of->inputs * LANES);
    take_taps(of->kernel, first, some, of->by.size, turned, room + (of->inputs + 1) * LANES);
    return lanes_in(of, room);
}

static struct depthwise geometry(long height, long width, long channels, long size, long stride)
{
    struct map from = {height, width, channels};
    struct map to = {(height + stride - 1) / stride, (width + stride - 1) / stride, channels};
    return (struct depthwise){from, to, (int)size, stride};
}

/* x: [images, height, width, inputs], about its mean; expand: [channels, inputs]; shift: [channels]; kernel:
 * [channels, size, size], padded by half its 3, 5 or 7; stride: 1 or 2; out: [images, ceil(height / stride),
 * ceil(width / stride), channels]; room: `expand_depthwise_room`. */
void expand_depthwise_forward(const float *x, const float *expand_by, const float *shift, const float *kernel,
                              long images, long height, long width, long inputs, long channels, long size, long stride,
                              int act, float *out, float *room)
{
    struct pair of = {geometry(height, width, channels, size, stride), inputs, act, expand_by, shift, kernel};
    long results = of.by.to.height * of.by.to.width * channels;
    float *padded = room, *weights = room + padded_places(&of.by) * LANES;
    memset(padded, 0, padded_places(&of.by) * LANES * sizeof(float));
    for (long first = 0; first < channels; first += LANES) {
        long some = least(channels - first, LANES);
        struct lanes by = take_weights(&of, first, 0, weights);
        for (long image = 0; image < images; image++) {
            expand(x + image * places(&of) * inputs, of.by.from, &by.expand, size / 2, NULL, padded);
            convolve(padded, &of.by, by.taps, (vec){0}, out + image * results + first, channels, some);
        }
    }
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

/* From the gradient of `expand_depthwise_forward`'s output: what reaches x through the pointwise convolution as it
 * stands, `of_x` [images, height, width, inputs]; the sums of the gradients g before the activation, `of_shift`
 * [channels], and of g times x, `of_expand` [channels, inputs]; and the gradient of the kernel, `of_kernel`. */
void expand_depthwise_backward(const float *gradient, const float *x, const float *expand_by, const float *shift,
                               const float *kernel, long images, long height, long width, long inputs, long channels,
                               long size, long stride, int act, float *of_x, float *of_expand, float *of_shift,
                               float *of_kernel, float *room)
{
    struct pair of = {geometry(height, width, channels, size, stride), inputs, act, expand_by, shift, kernel};
    struct map to = of.by.to;
    long border = size / 2, vectors = (inputs + LANES - 1) / LANES, taps = size * size;
    long step = (to.width + 2 * border) * LANES, blocks = (channels + LANES - 1) / LANES;
    long padded_room = padded_places(&of.by) * LANES;
    float *padded = room, *packed = padded + padded_room;
    float *before = packed + padded_room, *given = before + places(&of) * LANES;
    float *whole = given + places(&of) * LANES, *kept = whole + places(&of) * vectors * LANES;
    long sums = (inputs + 1 + taps) * LANES, block_room = 2 * sums + vectors * LANES * LANES;
    memset(room, 0, (kept - room + blocks * block_room) * sizeof(float));
    for (long block = 0; block < blocks; block++) {
        long first = block * LANES, some = least(channels - first, LANES);
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
            struct lanes by = lanes_in(&of, own);
            expand(seen, of.by.from, &by.expand, border, before, padded);
            spread(gradient + image * to.height * to.width * channels, to, block * LANES, border, packed);
            correlate(padded, &of.by, packed + border * step + border * LANES, LANES, step,
                      total + (inputs + 1) * LANES);
            input_gradient(packed, &of.by, by.taps, given);
            through_activation(given, before, places(&of), act, total + inputs * LANES);
            product(seen, given, places(&of), inputs, total);
            contract(given, own + 2 * sums, places(&of), vectors, whole);
        }
        narrow(whole, places(&of), vectors, inputs, of_x + image * places(&of) * inputs);
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
    struct depthwise by = geometry(height, width, channels, size, 1);
    long vectors = (inputs + LANES - 1) / LANES, blocks = (channels + LANES - 1) / LANES;
    long a_block = 2 * (inputs + 1 + size * size) + vectors * LANES;
    return LANES * (2 * padded_places(&by) + (2 + vectors) * height * width + (blocks + 1) * a_block);
}
