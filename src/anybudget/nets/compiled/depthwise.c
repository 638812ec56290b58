/* The weight gradient of depthwise convolutions. */

#include "convolutions.h"

/* The gradient of a depthwise kernel [channels, size, size] of 3, 5 or 7, padded by half of it, from the convolution's
 * input x [images, height, width, channels] and the gradient of its output, [images, ceil(height / stride),
 * ceil(width / stride), channels]; the stride is 1 or 2; room: `depthwise_room`. */
void depthwise_kernel_gradient(const float *x, const float *gradient, long images, long height, long width,
                               long channels, long size, long stride, float *out, float *room)
{
    struct map from = {height, width, channels};
    struct map to = {(height + stride - 1) / stride, (width + stride - 1) / stride, channels};
    struct depthwise of = {from, to, (int)size, stride};
    long taps = size * size;
    float *sums = room, *padded = room + taps * LANES, *packed = padded + padded_places(&of) * LANES;
    memset(padded, 0, (padded_places(&of) + to.height * to.width) * LANES * sizeof(float));
    for (long first = 0; first < channels; first += LANES) {
        long some = least(channels - first, LANES);
        memset(sums, 0, taps * LANES * sizeof(float));
        for (long image = 0; image < images; image++) {
            const float *of_image = gradient + image * to.height * to.width * to.channels;
            const float *read = of_image + first;
            long step = to.channels;
            if (some < LANES) {
                spread(of_image, to, first, 0, packed);
                read = packed, step = LANES;
            }
            spread(x + image * height * width * channels, from, first, size / 2, padded);
            correlate(padded, &of, read, step, to.width * step, sums);
        }
        for (long lane = 0; lane < some; lane++)
            for (long tap = 0; tap < taps; tap++) out[(first + lane) * taps + tap] = sums[tap * LANES + lane];
    }
}

/* How many numbers the room of `depthwise_kernel_gradient` has to hold. */
long depthwise_room(long height, long width, long size)
{
    long border = size / 2;
    return LANES * (size * size + (height + 2 * border) * (width + 2 * border) + height * width);
}
