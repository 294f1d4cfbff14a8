/* selftest/check.h - what can be said of a checkpoint without its reference at
 * hand and without computing a token: were all tensors used, is the path of a
 * picture the reference's, do positions count as they should. A picture that
 * arithmetic draws stands for a screenshot; python/known.py computes what is
 * recorded of it. For `openautoglm selftest` and the start of the server.
 *
 *     struct verdict v;
 *     check_preprocess(m, 270, 600, &v);
 *     if (!v.ok) puts(v.text);
 *
 * The model may be dry. Every check takes milliseconds but the picture of
 * 1080 x 2400, which takes a second or two and 75 MB for the largest settings. */
#ifndef SELFTEST_CHECK_H
#define SELFTEST_CHECK_H
#include "model/model.h"

struct verdict {
    const char *stage;
    bool ok;
    char text[352];                  /* one line: what was found                     */
};

/* Every tensor of the files used, and once. */
void check_tensors(const struct model *m, struct verdict *v);

/* The known picture of this size: (1) the hash of its pixel values is that of the reference, where the settings are
 * published ones; for all settings (2) resizing with this filter gives the bytes of Pillow or torchvision, at a
 * recorded size, and (3) each value is its pixel's, by an order of patches and a line from black to white that are
 * written down here once more. Only the size that smart_resize chooses rests on (1) alone. The model takes images. */
void check_preprocess(const struct model *m, int width, int height, struct verdict *v);

/* One token, the known picture, one token: three axes. The model takes images. */
void check_positions(const struct model *m, struct verdict *v);

#endif
