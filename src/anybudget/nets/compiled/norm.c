/* Batch norm with its activation and a residual sum.
 *
 * A row is as many pixels as make its width a multiple of STRIP, so that no vector is part empty. Columns are reduced
 * first, then the columns of a channel; what a channel has is repeated along a row. */

#include <math.h>

#include "vectors.h"

#define STRIP 64
#define VECTORS (STRIP / LANES) /* of a strip */
#define BLOCK 64 /* rows that are added up at a time: a strip of them stays in the cache */

/* Repeat the first `count` numbers along `width`; in place where both are the same. */
INLINE void repeat(const float *numbers, long count, float *along, long width)
{
    for (long start = 0; start < width; start += count)
        if (along + start != numbers) memcpy(along + start, numbers, count * sizeof(float));
}

/* Mean and sum of squares about it of each of STRIP columns over some rows, merged into those of the rows before.
 * Source: Chan, Golub and LeVeque (1979), the pairwise update. */
INLINE void merge_rows(const float *x, long rows, long width, long before, float *mean, float *squares)
{
    vec sum[VECTORS] = {{0}}, centre[VECTORS], about[VECTORS] = {{0}};
    for (long row = 0; row < rows; row++)
        for (int v = 0; v < VECTORS; v++) sum[v] += load(x + row * width + v * LANES);
    for (int v = 0; v < VECTORS; v++) centre[v] = sum[v] / (float)rows;
    for (long row = 0; row < rows; row++)
        for (int v = 0; v < VECTORS; v++) {
            vec off = load(x + row * width + v * LANES) - centre[v];
            about[v] += off * off;
        }
    float share = (float)rows / (float)(before + rows), weight = share * (float)before;
    for (int v = 0; v < VECTORS; v++) {
        vec old = load(mean + v * LANES), gap = centre[v] - old;
        store(mean + v * LANES, old + gap * share);
        store(squares + v * LANES, load(squares + v * LANES) + about[v] + gap * gap * weight);
    }
}

INLINE void write_normalised(const float *x, const float *residual, long rows, long width, const float *scale,
                             const float *shift, float *out, int act)
{
    for (long row = 0; row < rows; row++)
        for (long column = 0; column < width; column += LANES) {
            long place = row * width + column;
            vec v = activate(load(x + place) * load(scale + column) + load(shift + column), act);
            if (residual) v += load(residual + place);
            store(out + place, v);
        }
}

/* out = activation(norm(x)) + residual, by the moments of this batch.
 *
 * x, residual (or NULL), out: [rows, width]; weight, bias: [channels], which divide the width; room: [2 * width].
 * moments: [4, channels], mean, biased variance, and what the norm multiplies by and adds.
 * running: the running mean and unbiased variance, each [channels] or NULL, which follow the batch by `share`. */
void norm_forward(const float *x, const float *residual, const float *weight, const float *bias, float epsilon,
                  long rows, long width, long channels, int act, float *out, float *moments, float *running_mean,
                  float *running_variance, float share, float *room)
{
    float *means = room, *squares = room + width;
    float *mean = moments, *variance = mean + channels, *scale = variance + channels, *shift = scale + channels;
    memset(room, 0, 2 * width * sizeof(float));
    for (long first = 0; first < rows; first += BLOCK) {
        long some = rows - first < BLOCK ? rows - first : BLOCK;
        for (long column = 0; column < width; column += STRIP)
            merge_rows(x + first * width + column, some, width, first, means + column, squares + column);
    }
    float pixels = (float)(width / channels);
    for (long channel = 0; channel < channels; channel++) {
        float sum = 0.0f, about = 0.0f;
        for (long column = channel; column < width; column += channels) sum += means[column];
        float centre = sum / pixels;
        for (long column = channel; column < width; column += channels) {
            float gap = means[column] - centre;
            about += squares[column] + gap * gap * (float)rows;
        }
        mean[channel] = centre;
        variance[channel] = about / (pixels * (float)rows);
        scale[channel] = weight[channel] / sqrtf(variance[channel] + epsilon);
        shift[channel] = bias[channel] - centre * scale[channel];
    }
    if (running_mean) {
        float count = pixels * (float)rows;
        for (long channel = 0; channel < channels; channel++) {
            running_mean[channel] += share * (mean[channel] - running_mean[channel]);
            running_variance[channel] +=
                share * (variance[channel] * (count / (count - 1.0f)) - running_variance[channel]);
        }
    }
    float *scales = room, *shifts = room + width;
    repeat(scale, channels, scales, width);
    repeat(shift, channels, shifts, width);
    switch (act) {
    case RELU: write_normalised(x, residual, rows, width, scales, shifts, out, RELU); break;
    case RELU6: write_normalised(x, residual, rows, width, scales, shifts, out, RELU6); break;
    case HARD_SWISH: write_normalised(x, residual, rows, width, scales, shifts, out, HARD_SWISH); break;
    default: write_normalised(x, residual, rows, width, scales, shifts, out, NONE);
    }
}

/* What columns of a row have in common: repeated per-channel numbers, see `norm_forward`. */
struct columns {
    const float *scale, *shift, *mean;
};

/* The gradient of the norm's output at a place, from that of the activation's. */
INLINE vec before_activation(const float *gradient, vec value, long column, const struct columns *of, int act)
{
    return deactivate(load(gradient), value * load(of->scale + column) + load(of->shift + column), act);
}

/* Of each column the sum of the gradients g of the norm's output, and of g * (x - mean). */
INLINE void gradient_sums(const float *gradient, const float *x, long rows, long width, const struct columns *of,
                          float *total, float *along, int act)
{
    for (long first = 0; first < rows; first += BLOCK) {
        long last = rows - first < BLOCK ? rows : first + BLOCK;
        for (long column = 0; column < width; column += STRIP) {
            vec sum[VECTORS] = {{0}}, product[VECTORS] = {{0}};
            for (long row = first; row < last; row++)
                for (int v = 0; v < VECTORS; v++) {
                    long at = column + v * LANES;
                    vec value = load(x + row * width + at);
                    vec own = before_activation(gradient + row * width + at, value, at, of, act);
                    sum[v] += own;
                    product[v] += own * (value - load(of->mean + at));
                }
            for (int v = 0; v < VECTORS; v++) {
                long at = column + v * LANES;
                store(total + at, load(total + at) + sum[v]);
                store(along + at, load(along + at) + product[v]);
            }
        }
    }
}

/* The gradient of x: scale * g + (x - mean) * slope + offset. */
INLINE void write_gradient(const float *gradient, const float *x, long rows, long width, const struct columns *of,
                           const float *slope, const float *offset, float *out, int act)
{
    for (long row = 0; row < rows; row++)
        for (long column = 0; column < width; column += LANES) {
            long place = row * width + column;
            vec value = load(x + place);
            vec own = before_activation(gradient + place, value, column, of, act);
            store(out + place, load(of->scale + column) * own + (value - load(of->mean + column)) * load(slope + column)
                                   + load(offset + column));
        }
}

/* The gradients of x [rows, width], weight and bias [channels], from that of `norm_forward`'s output, `gradient`.
 * moments: as `norm_forward` gave them; room: [5 * width]. */
void norm_backward(const float *gradient, const float *x, const float *moments, float epsilon, long rows, long width,
                   long channels, int act, float *of_x, float *of_weight, float *of_bias, float *room)
{
    const float *mean = moments, *variance = mean + channels, *scale = variance + channels, *shift = scale + channels;
    float *total = room + 3 * width, *along = room + 4 * width;
    struct columns of = {room, room + width, room + 2 * width};
    repeat(scale, channels, room, width);
    repeat(shift, channels, room + width, width);
    repeat(mean, channels, room + 2 * width, width);
    memset(total, 0, 2 * width * sizeof(float));
    switch (act) {
    case RELU: gradient_sums(gradient, x, rows, width, &of, total, along, RELU); break;
    case RELU6: gradient_sums(gradient, x, rows, width, &of, total, along, RELU6); break;
    case HARD_SWISH: gradient_sums(gradient, x, rows, width, &of, total, along, HARD_SWISH); break;
    default: gradient_sums(gradient, x, rows, width, &of, total, along, NONE);
    }
    float count = (float)(width / channels) * (float)rows;
    for (long channel = 0; channel < channels; channel++) {
        float sum = 0.0f, product = 0.0f;
        for (long column = channel; column < width; column += channels) {
            sum += total[column];
            product += along[column];
        }
        of_bias[channel] = sum;
        of_weight[channel] = product / sqrtf(variance[channel] + epsilon);
        total[channel] = -scale[channel] * sum / count;  /* the offset */
        along[channel] = -scale[channel] * product / (count * (variance[channel] + epsilon));  /* the slope */
    }
    repeat(total, channels, total, width);
    repeat(along, channels, along, width);
    switch (act) {
    case RELU: write_gradient(gradient, x, rows, width, &of, along, total, of_x, RELU); break;
    case RELU6: write_gradient(gradient, x, rows, width, &of, along, total, of_x, RELU6); break;
    case HARD_SWISH: write_gradient(gradient, x, rows, width, &of, along, total, of_x, HARD_SWISH); break;
    default: write_gradient(gradient, x, rows, width, &of, along, total, of_x, NONE);
    }
}
