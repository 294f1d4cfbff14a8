/* checkpoint/prepared.c - see prepared.h. */
#include "checkpoint/prepared.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/sum.h"

const char *prepared_weights(const struct weights_file *f) { return weights_note(f, 0, PREPARED_WEIGHTS); }

int prepared_check(const struct weights_file *f, int version, struct err *e)
{
    const char *has = weights_note(f, 0, PREPARED_VERSION);
    if ((has != NULL) != (prepared_weights(f) != NULL))
        return err_set(e, "the file says only in part that its weights were prepared: it is damaged");
    if (has && atoi(has) != version)
        return err_set(e, "the weights were prepared by another version of openautoglm (%.20s, this one reads %d): "
                          "make them anew with openautoglm quantize", has, version);
    return 0;
}

int prepared_note(const struct weights_file *f, const struct stored *t, struct prepared_note *out, struct err *e)
{
    const char *note = weights_note(f, t->file, t->name);
    int end = 0;
    *out = (struct prepared_note){ 0 };
    if (!note || sscanf(note, "%15s %15s %16" SCNx64 "%n", out->type, out->form, &out->sum, &end) != 3 || note[end])
        return err_set(e, "%s: tensor %.120s: its entry in the metadata is missing or damaged",
                       weights_file_name(f, t), t->name);
    return 0;
}

int prepared_verify(const struct weights_file *f, const struct stored *t, struct err *e)
{
    struct prepared_note note;
    if (prepared_note(f, t, &note, e) != 0)
        return -1;
    if (sum_bytes(t->data, t->bytes) != note.sum)
        return err_set(e, "%s: tensor %.120s is damaged: its checksum is not the one that was stored",
                       weights_file_name(f, t), t->name);
    return 0;
}
