/* The weight gradient of depthwise convolutions. */

#include "vectors.h"

#define CACHED 16384 /* bytes of a padded map that are passed over again and again */

INLINE void kernel_gradient(const float *x, const float *gradient, long images, struct map from, struct map to,
                            int size, long stride, float *out, float *room)
{
    long border = size / 2, wide = from.width + 2 * border;
    int at_once = size == 3 ? 3 : 1;  /* rows of the kernel: as many sums as registers hold */
    float *sums = room, *padded = room + (long)size * size * LANES;
    float *packed = padded + (from.height + 2 * border) * wide * LANES;
    long some_rows = CACHED / (wide * stride * LANES * (long)sizeof(float));
    if (some_rows < 1) some_rows = 1;
    memset(padded, 0, ((from.height + 2 * border) * wide + to.height * to.width) * LANES * sizeof(float));
    for (long first = 0; first < from.channels; first += LANES) {
        long some = from.channels - first < LANES ? from.channels - first : LANES;
        memset(sums, 0, (long)size * size * LANES * sizeof(float));
        for (long image = 0; image < images; image++) {
            const float *of_image = gradient + image * to.height * to.width * to.channels;
            const float *read = of_image + first;
            long step = to.channels;
            if (some < LANES) {
                spread(of_image, to, first, 0, packed);
                read = packed, step = LANES;
            }
            spread(x + image * from.height * from.width * from.channels, from, first, border, padded);
            for (long row = 0; row < to.height; row += some_rows)
                for (int i = 0; i < size; i += at_once)
                    correlate(padded + (row * stride + i) * wide * LANES, wide, read + row * to.width * step, step,
                              to.width * step, to.height - row < some_rows ? to.height - row : some_rows, to.width, size, at_once,
                              stride, sums + i * size * LANES);
        }
        for (long lane = 0; lane < some; lane++)
            for (int tap = 0; tap < size * size; tap++)
                out[(first + lane) * size * size + tap] = sums[tap * LANES + lane];
    }
}

/* The gradient of a depthwise kernel [channels, size, size] of 3, 5 or 7, padded by half of it, from the convolution's
 * input x [images, height, width, channels] and the gradient of its output, [images, ceil(height / stride),
 * ceil(width / stride), channels]; room: `depthwise_room`. */
void depthwise_kernel_gradient(const float *x, const float *gradient, long images, long height, long width,
                               long channels, long size, long stride, float *out, float *room)
{
    struct map from = {height, width, channels};
    struct map to = {(height + stride - 1) / stride, (width + stride - 1) / stride, channels};
    switch (size) {
    case 3: kernel_gradient(x, gradient, images, from, to, 3, stride, out, room); break;
    case 5: kernel_gradient(x, gradient, images, from, to, 5, stride, out, room); break;
    default: kernel_gradient(x, gradient, images, from, to, 7, stride, out, room);
    }
}

/* How many numbers the room of `depthwise_kernel_gradient` has to hold. */
long depthwise_room(long height, long width, long size)
{
    long border = size / 2;
    return LANES * (size * size + (height + 2 * border) * (width + 2 * border) + height * width);
}
