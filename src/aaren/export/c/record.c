
/* A saved state: magic, version, form of the sums, fingerprint, payload, CRC-32; little-endian. */
enum { HEADER = 8 + 4 + 4 + 32, CHECKSUM = 4, RECORD_VERSION = 1 };

static const unsigned char magic[8] = {'A', 'A', 'R', 'E', 'N', 'S', 'T', '1'};
static const unsigned char fingerprint[32] = {@fingerprint_bytes@};

/* One walk over the state serves both directions. */
typedef struct record {
    unsigned char *at;
    int writes;
    uint32_t as_doubles; /* how the record's sums are kept: 1 as double, 0 as two floats */
} record;

static void exchange_bits(uint64_t *bits, int bytes, record *with)
{
    uint64_t read = 0;
    for (int k = 0; k < bytes; k++) {
        if (with->writes)
            with->at[k] = (unsigned char)(*bits >> (8 * k) & 255);
        read |= (uint64_t)with->at[k] << (8 * k);
    }
    *bits = read;
    with->at += bytes;
}

//? integers
static void exchange_u64(uint64_t *number, record *with)
{
    exchange_bits(number, 8, with);
}

//.
//? int64s
static void exchange_i64(int64_t *number, record *with)
{
    uint64_t bits;
    memcpy(&bits, number, sizeof bits);
    exchange_bits(&bits, 8, with);
    memcpy(number, &bits, sizeof bits);
}

//.
static void exchange_doubles(double *numbers, int size, record *with)
{
    for (int i = 0; i < size; i++) {
        uint64_t bits;
        memcpy(&bits, numbers + i, sizeof bits);
        exchange_bits(&bits, 8, with);
        memcpy(numbers + i, &bits, sizeof bits);
    }
}

static void exchange_floats(float *numbers, int size, record *with)
{
    for (int i = 0; i < size; i++) {
        uint32_t bits;
        memcpy(&bits, numbers + i, sizeof bits);
        uint64_t wide = bits;
        exchange_bits(&wide, 4, with);
        bits = (uint32_t)wide;
        memcpy(numbers + i, &bits, sizeof bits);
    }
}

/* Sums as 8 bytes each, in the form in which they are kept here; a record of the other form is converted. */
#if @NAME@_DOUBLE
static void exchange_sums(double *sums, int size, record *with)
{
    for (int i = 0; i < size; i++) {
        float pair[2] = {0, 0};
        if (with->as_doubles) {
            exchange_doubles(sums + i, 1, with);
        } else {
            exchange_floats(pair, 2, with);
            sums[i] = (double)pair[0] + (double)pair[1];
        }
    }
}
#else
static void exchange_sums(float *high, float *low, int size, record *with)
{
    for (int i = 0; i < size; i++) {
        double sum = 0;
        if (with->as_doubles) {
            exchange_doubles(&sum, 1, with);
            high[i] = fabs(sum) <= (double)FLT_MAX ? (float)sum : NAN;
            low[i] = (float)(sum - (double)high[i]);
        } else {
            exchange_floats(high + i, 1, with);
            exchange_floats(low + i, 1, with);
        }
    }
}
#endif

static void exchange_encoder(@name@_attention *encoder, record *with)
{
    for (int l = 0; l < LAYERS; l++) {
        @name@_attention *kept = encoder + l;
#if @NAME@_DOUBLE
        exchange_doubles(kept->max_score, HEADS, with);
        exchange_sums(kept->normalizer, HEADS, with);
        exchange_sums(kept->weighted_sum, D, with);
#else
        for (int head = 0; head < HEADS; head++) {
            double score = (double)kept->max_score[head];
            exchange_doubles(&score, 1, with);
            kept->max_score[head] = score < -(double)FLT_MAX ? -INFINITY : (score > (double)FLT_MAX ? NAN : (float)score);
        }
        exchange_sums(kept->normalizer, kept->normalizer_low, HEADS, with);
        exchange_sums(kept->weighted_sum, kept->weighted_sum_low, D, with);
#endif
    }
}
