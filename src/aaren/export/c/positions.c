
/* Sines and cosines of a position or time, added to x (arXiv 1706.03762, section 3.5). */
static void add_positions(double position, float *x)
{
    static const double frequency[D / 2] = {
@frequencies@
    };
    for (int i = 0; i < D / 2; i++) {
        const double angle = position * frequency[i];
#if @NAME@_DOUBLE
        x[2 * i] += (float)sin(angle);
        x[2 * i + 1] += (float)cos(angle);
#else
        const double turns = floor(angle * 0.15915494309189535 + 0.5);
        const float rest = (float)(angle - turns * 6.283185307179586);
        x[2 * i] += sinf(rest);
        x[2 * i + 1] += cosf(rest);
#endif
    }
}
