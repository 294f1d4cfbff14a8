/* engine/device.c - see device.h. The device and the plan belong together: one is opened, asked for its memory, and
 * given back if the plan does not fit. A trace is put around the device last, when everything has been decided. */
#include "engine/device.h"

#include <string.h>

#include "base/log.h"
#include "engine/room.h"
#include "kernels/trace.h"

static bool weights_come_as(enum dtype t) { return t == F32 || t == BF16 || t == Q8 || t == Q4 || t == F8; }

/* Reads --weights. `auto` leaves the types of the checkpoint. */
int weights_option(const struct engine_config *o, struct model_options *out, struct err *e)
{
    if (strcmp(o->weights, "auto") == 0)
        return 0;
    if (!dtype_named(o->weights, &out->weights) || !weights_come_as(out->weights))
        return err_field(e, "weights", "there are no weights of type '%s'", o->weights);
    out->convert = true;
    return 0;
}

/* What --activations means with these weights on this backend. `auto` and `float` are always possible; int8 needs
 * weights whose products have an integer kernel. `weights`: the name of their type, not `auto`. -1: the error names the
 * weights that would do. */
int activations_option(enum activations *out, const struct engine_config *o, const struct backend *b,
                       const char *weights, struct err *e)
{
    const char *name = o->activations;
    bool int8 = strcmp(weights, "int8") == 0, int4 = strcmp(weights, "int4") == 0;
    *out = ACTIVATIONS_AUTO;
    if (strcmp(name, "float") == 0)
        *out = ACTIVATIONS_FLOAT;
    if (strcmp(name, "int8") != 0)
        return 0;
    *out = ACTIVATIONS_INT8;
    if (int8 || (int4 && !b->discrete))
        return 0;
    return err_field(e, "activations", "activations of int8 need --weights int8%s; these are %s",
                     b->discrete ? "" : " or int4", weights);
}

/* Where kernels that vary with the load cannot be had, the others serve. */
static int open_device(struct model_options *mo, struct device_options *wanted, struct err *e)
{
    int rc = mo->backend->open(&mo->device, wanted, e);
    if (rc == 0 || !wanted->varies)
        return rc;
    struct err why = *e;
    wanted->varies = false;
    rc = mo->backend->open(&mo->device, wanted, e);
    if (rc == 0)
        log_info("own kernels multiply: %s", why.text);
    return rc;
}

/* What a card of that size leaves to a program: less the CUDA context, its kernels and the backend's own buffers.
 * Assumed, not measured. */
static size_t left_on_card(size_t bytes)
{
    const size_t taken = (size_t)640 << 20;
    return bytes > taken ? bytes - taken : 0;
}

/* Opens one device and makes the plan for it, from the checkpoint's headers alone. Where a GPU of --gpu-memory bytes is
 * only imagined, there is a plan but no device. -1: no device stays open. A plan that does not fit is not an error
 * here. */
static int plan_on(struct chosen *out, const struct engine_options *opt, const char *device, FILE *trace, struct err *e)
{
    struct model_options *mo = &out->model;
    const struct engine_config *o = &opt->config;
    *out = (struct chosen){ .model.backend = backend_find(device, e) };
    if (!mo->backend)
        return err_prefix(e, "device %s", device);
    if (weights_option(o, mo, e) < 0)
        return -1;
    mo->context = o->max_model_len;
    mo->progress = opt->progress;
    mo->progress_arg = opt->progress_arg;
    if (o->gpu_memory && !mo->backend->discrete)
        return err_field(e, "gpu_memory", "a GPU's memory is planned with --device cuda, not on %s", mo->backend->name);
    struct device_options wanted = { .threads = o->threads, .varies = !o->deterministic };
    struct model *dry = model_open(o->model, mo, e);
    if (!dry)
        return -1;
    const char *weights = weights_name(o, dry);
    struct room room = { .free = opt->free_memory, .arg = opt->free_memory_arg };
    struct memory memory = { .host = backend_cpu.memory(NULL), .free = room_free(&room) };
    int rc = activations_option(&wanted.activations, o, mo->backend, weights, e);
    if (rc == 0 && !o->gpu_memory)
        rc = open_device(mo, &wanted, e);
    if (rc == 0) {
        memory.device = o->gpu_memory ? left_on_card(o->gpu_memory) : mo->backend->memory(mo->device);
        rc = setup_make(&out->setup, opt, dry, &memory, e);
    }
    out->no_texts = dry->no_texts;
    out->image_token = dry->image_token;
    out->image_mark = dry->image_mark;
    model_close(dry);
    if (rc != 0 && mo->device) {
        mo->backend->close(mo->device);
        mo->device = NULL;
    }
    if (trace && mo->device)
        trace_device(&mo->backend, &mo->device, trace);
    return rc;
}

/* Opens the device that --device names and plans its memory. With `auto` a GPU on which the model does not fit is
 * closed again, and the CPU is taken, which the log explains. The device in *out is the caller's to close. */
int device_choose(struct chosen *out, const struct engine_options *opt, FILE *trace, struct err *e)
{
    bool free_choice = strcmp(opt->config.device, "auto") == 0;
    int rc = plan_on(out, opt, opt->config.device, trace, e);
    if (rc != 0 || !free_choice || !out->model.backend->discrete || out->setup.plan.fits)
        return rc;
    struct err why;
    setup_refusal(&out->setup, &why);
    log_info("the CPU computes: %s", why.text);
    if (out->model.device)
        out->model.backend->close(out->model.device);
    return plan_on(out, opt, "cpu", trace, e);
}
