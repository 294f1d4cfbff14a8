/* server/record.c - writes the line. See record.h. */
#include "server/record.h"

#include "base/clock.h"
#include "base/log.h"
#include "server/exchange.h"
#include "server/keys.h"

/* What a generating request has beside the others. `prepare_ms` is what its images took on the connection's thread,
 * before it was submitted; the other times are the engine's. */
static int add_generation(struct log_field *f, const struct record *r)
{
    const struct log_field all[] = {
        { .name = "answer", .text = r->answer },
        { .name = "prompt_tokens", .number = r->prompt },
        { .name = "cached_tokens", .number = r->cached },
        { .name = "image_tokens", .number = r->image },
        { .name = "completion_tokens", .number = r->completion },
        { .name = "prepare_ms", .number = 1e3 * (r->time.image_decode + r->time.image_resize), .decimals = 1 },
        { .name = "queue_ms", .number = 1e3 * r->time.queue, .decimals = 1 },
        { .name = "encode_ms", .number = 1e3 * r->time.image_encode, .decimals = 1 },
        { .name = "prefill_ms", .number = 1e3 * r->time.prefill, .decimals = 1 },
        { .name = "decode_ms", .number = 1e3 * r->time.decode, .decimals = 1 },
        { .name = "finish", .text = r->finish ? r->finish : "cancelled" },
    };
    int n = sizeof all / sizeof *all;
    for (int i = 0; i < n; i++)
        f[i] = all[i];
    return n;
}

/* 499, as nginx has it, stands for clients that went away, as in the metrics. */
void record_log(const struct exchange *x, bool probe)
{
    struct log_field f[LOG_FIELDS] = {
        { .name = "id", .text = x->request_id },
        { .name = "method", .text = x->method },
        { .name = "path", .text = x->path },
        { .name = "status", .number = x->broken ? 499 : x->status },
        { .name = "ms", .number = 1e3 * (clock_seconds() - x->started), .decimals = 1 },
        { .name = "error", .text = x->record.error },
        { .name = "key", .text = x->key ? key_name(x->key) : "" },
    };
    int n = 7;
    if (x->record.generated)
        n += add_generation(f + n, &x->record);
    log_fields(probe ? LOG_DEBUG : LOG_INFO, "request", f, n);
}
