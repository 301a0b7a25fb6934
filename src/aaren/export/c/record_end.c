
static uint32_t crc32_of(const unsigned char *bytes, size_t size)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

int @name@_save(const @name@_state *state, unsigned char *bytes, size_t size)
{
    if (!state || !bytes)
        return @NAME@_ERROR_POINTER;
    if (size < @NAME@_STATE_BYTES)
        return @NAME@_ERROR_SIZE;
    @name@_state copy = *state;
    record with = {bytes + HEADER, 1, @NAME@_DOUBLE};
    record head = {bytes + sizeof magic, 1, 0};
    uint64_t version = RECORD_VERSION, form = @NAME@_DOUBLE;
    memcpy(bytes, magic, sizeof magic);
    exchange_bits(&version, 4, &head);
    exchange_bits(&form, 4, &head);
    memcpy(head.at, fingerprint, sizeof fingerprint);
    exchange(&copy, &with);
    uint64_t checksum = crc32_of(bytes, @NAME@_STATE_BYTES - CHECKSUM);
    exchange_bits(&checksum, CHECKSUM, &with);
    return @NAME@_OK;
}

int @name@_load(@name@_state *state, const unsigned char *bytes, size_t size)
{
    if (!state || !bytes)
        return @NAME@_ERROR_POINTER;
    if (size != @NAME@_STATE_BYTES)
        return @NAME@_ERROR_SIZE;
    if (memcmp(bytes, magic, sizeof magic))
        return @NAME@_ERROR_FORMAT;
    unsigned char copy[@NAME@_STATE_BYTES];
    uint64_t version = 0, form = 0, checksum = 0;
    memcpy(copy, bytes, sizeof copy);
    record head = {copy + sizeof magic, 0, 0}, tail = {copy + sizeof copy - CHECKSUM, 0, 0};
    exchange_bits(&version, 4, &head);
    exchange_bits(&form, 4, &head);
    exchange_bits(&checksum, CHECKSUM, &tail);
    if (version != RECORD_VERSION)
        return @NAME@_ERROR_VERSION;
    if (memcmp(head.at, fingerprint, sizeof fingerprint))
        return @NAME@_ERROR_FINGERPRINT;
    if (checksum != crc32_of(copy, sizeof copy - CHECKSUM))
        return @NAME@_ERROR_CHECKSUM;
    if (form > 1)
        return @NAME@_ERROR_FORMAT;
    @name@_state next;
    record with = {copy + HEADER, 0, (uint32_t)form};
    memset(&next, 0, sizeof next);
    exchange(&next, &with);
    const int error = @name@_check(&next);
    if (!error)
        *state = next;
    return error;
}

const char *@name@_error_text(int error)
{
    static const char *const texts[] = {
        "fine",
        "expected the address of a state, of inputs and of outputs, received a null pointer",
        "expected finite numbers within 1e15 training deviations, NaN only where a value may be missing",
        "expected a time in the years 1 to 9999, in text as 2016-07-01 00:00:00",
        "expected a time after that of the row before",
        "expected a time that is a multiple of the interval after the row before",
        "expected fewer missing rows between two rows; start a new stream, or build with a larger @NAME@_MAX_GAP",
        "expected one of the marks of training",
        "expected a level between 0 and 1",
        "expected the reward of the action before, and none before the first action",
        "expected no more steps in an episode; begin a new one",
        "expected inputs that the model can take, received some after which nothing is a number",
        "expected a state of this model, received one with impossible numbers",
        "expected @record_bytes@ bytes, received another number of them",
        "expected a saved state, received other bytes",
        "expected a saved state of version 1",
        "expected a saved state of this model, received that of another",
        "expected a whole saved state, received a damaged one",
    };
    return error >= 0 && error < (int)(sizeof texts / sizeof *texts) ? texts[error] : "unknown error";
}
