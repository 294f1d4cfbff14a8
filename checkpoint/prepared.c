/* checkpoint/prepared.c - see prepared.h. */
#include "checkpoint/prepared.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/sum.h"

const char *prepared_weights(const struct weights_file *f) { return weights_note(f, 0, PREPARED_WEIGHTS); }

/* Whether a file that was prepared fits this program. A file that was not has none of the notes, which is fine. -1:
 * half of the notes are missing, or panels have another layout. */
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

/* What the file says of one tensor: the type it was made from, its form, and its checksum. */
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

/* ---- checksums ---- */

struct verifying {                     /* shared by the threads */
    const struct weights_file *file;
    const struct stored *all;          /* (n) */
    int n;
    _Atomic int next, bad;             /* bad: the first tensor that is not as it was written; n: none */
};

static bool is_sound(const struct weights_file *f, const struct stored *t)
{
    struct prepared_note note;
    return prepared_note(f, t, &note, NULL) == 0 && sum_bytes(t->data, t->bytes) == note.sum;
}

/* Takes one tensor after the other; those behind a bad one need not be looked at. */
static void *verify_some(void *arg)
{
    struct verifying *v = arg;
    for (int i; (i = atomic_fetch_add(&v->next, 1)) < v->n && i < atomic_load(&v->bad);) {
        int first = atomic_load(&v->bad);
        if (!is_sound(v->file, &v->all[i]))
            while (i < first && !atomic_compare_exchange_weak(&v->bad, &first, i))
                ;
    }
    return NULL;
}

/* Checks the sums of all tensors with up to `threads` threads, this one among them. If several are damaged, the one
 * that comes first in the file is named, whichever thread found what first. */
int prepared_verify(const struct weights_file *f, int threads, struct err *e)
{
    enum { MAX_THREADS = 16 };
    struct verifying v = { .file = f };
    struct prepared_note note;
    pthread_t helper[MAX_THREADS];
    int n = 0;
    v.all = weights_all(f, &v.n);
    v.bad = v.n;
    while (n < threads - 1 && n < MAX_THREADS && pthread_create(&helper[n], NULL, verify_some, &v) == 0)
        n++;
    verify_some(&v);
    while (n > 0)
        pthread_join(helper[--n], NULL);
    if (v.bad == v.n)
        return 0;
    const struct stored *t = &v.all[v.bad];
    if (prepared_note(f, t, &note, e) != 0)
        return -1;
    return err_set(e, "%s: tensor %.120s is damaged: its checksum is not the one that was stored",
                   weights_file_name(f, t), t->name);
}
